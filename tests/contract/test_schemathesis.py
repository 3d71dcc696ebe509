"""Whatever anybody sends, the API answers as it says it does: no 500, no undeclared answer, nothing malformed."""

import os
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from schemathesis.python.asgi import shutdown_lifespans

from health_services.main import create_app
from tests.conftest import test_settings
from tests.contract.conftest import Documented
from tests.contract.exploration import explore
from tests.servers import TestDatabase

# More of everything for a night: EXPLORE=20 .venv/bin/pytest tests/contract
SCALE = int(os.environ.get("EXPLORE", "1"))


@pytest.fixture
def explored(database: TestDatabase) -> Iterator[FastAPI]:
    """An application of its own, for the event loop of the explorer."""
    # a webhook's address is looked up at registration: no test is to depend on whose names are known today
    settings = test_settings(database.app_url).model_copy(update={"webhook_allow_private": True, "metrics": "on"})
    yield create_app(settings)
    shutdown_lifespans()


@pytest.mark.parametrize("role", ["anonymous", "patient", "doctor", "staff", "admin"])
def test_every_answer_is_declared(role: str, explored: FastAPI, documented: Documented):
    found = explore(
        explored,
        documented.headers[role],
        seed=1,
        examples=2 * SCALE,
        phases={"examples", "fuzzing", "stateful"},
    )
    assert not found.failures, "\n\n".join(found.failures)
    # it has been everywhere, and behind the doors that are open to this role
    assert len(found.operations) == len(explored.openapi()["paths"]) + _more_methods(explored)
    assert found.statuses.keys() >= ({200, 401} if role == "anonymous" else {200, 201, 400})
    assert role == "anonymous" or found.statuses[200] > 40, "whoever is signed in stays so"


def _more_methods(app: FastAPI) -> int:
    return sum(len(operations) - 1 for operations in app.openapi()["paths"].values())


def test_every_bound_of_every_field_is_kept(explored: FastAPI, documented: Documented):
    found = explore(explored, documented.headers["admin"], seed=1, examples=1, phases={"coverage"})
    assert not found.failures, "\n\n".join(found.failures)
