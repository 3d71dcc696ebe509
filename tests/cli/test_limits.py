"""Limits of a server that runs: one count for all its processes, which its end does not reset."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.cli.commands import run, serving
from tests.database.conftest import make_open_directory
from tests.servers import NO_TLS

LIMITS = {"HEALTH_RATE_LIMITS": '{"address": "40/hour"}', "HEALTH_TRUSTED_PROXIES": '["127.0.0.1"]'}


@pytest.fixture
def fresh() -> Iterator[Path]:
    """A data directory in which nothing was counted."""
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


def passed(client: httpx.Client, address: str, attempts: int) -> int:
    """How many of so many callers at once are answered, each by the process that takes his connection."""

    def ask(_: int) -> int:
        headers = {"X-Forwarded-For": address, "Connection": "close"}
        return httpx.get(f"{client.base_url}clinics", headers=headers, verify=NO_TLS, timeout=60).status_code

    with ThreadPoolExecutor(16) as callers:
        codes = list(callers.map(ask, range(attempts)))
    assert set(codes) <= {200, 429}
    return codes.count(200)


def test_processes_count_together_and_a_restart_forgets_nothing(fresh: Path):
    with serving("--workers", "2", HEALTH_DATA_DIR=fresh, **LIMITS) as (_, client):
        assert passed(client, "203.0.113.7", 80) == 40
        assert passed(client, "203.0.113.8", 10) == 10
    with serving(HEALTH_DATA_DIR=fresh, **LIMITS) as (_, client):
        assert passed(client, "203.0.113.7", 5) == 0
        assert passed(client, "203.0.113.8", 40) == 30


def test_a_start_that_could_not_count_is_refused(fresh: Path):
    (fresh / "rate_limits").mkdir()
    refused = run("serve", "--port", "0", HEALTH_DATA_DIR=fresh, HEALTH_RATE_LIMITS="")
    assert refused.refusal.startswith(f"Requests cannot be counted in {fresh}/rate_limits (Is a directory)")


@pytest.mark.parametrize(("value", "sentence"), [
    ('{"logins": "1/minute"}', "'logins' is no limit; there are address, caller,"),
    ('{"login": "often"}', "login must be written as in 10/5 minutes or 600/minute."),
])  # fmt: skip
def test_a_malformed_limit_stops_the_start_by_its_name(value: str, sentence: str, fresh: Path):
    refused = run("serve", "--port", "0", HEALTH_DATA_DIR=fresh, HEALTH_RATE_LIMITS=value)
    assert refused.refusal.startswith(f"HEALTH_RATE_LIMITS: {sentence}")
