"""Where a hole can be told: RFC 9116, from a setting."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from health_services.settings import Settings
from tests.api.answers import refusal

ADDRESS = "http://test/.well-known/security.txt"


async def test_without_a_contact_there_is_none(api: httpx.AsyncClient):
    refusal(await api.get(ADDRESS), "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize("contact", ["mailto:security@example.org", "https://example.org/security"])
async def test_the_contact_is_told_for_less_than_a_year(
    api: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, contact: str
):
    settings: Settings = app.state.settings
    changed = settings.model_copy(update={"security_contact": contact})
    monkeypatch.setitem(app.state._state, "settings", changed)
    answer = await api.get(ADDRESS)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    lines = [line.split(": ", 1) for line in answer.text.splitlines()]
    assert [name for name, _ in lines] == ["Contact", "Expires"]
    assert lines[0][1] == contact
    expires = datetime.fromisoformat(lines[1][1])
    assert timedelta(days=30) < expires - datetime.now(UTC) < timedelta(days=365)
