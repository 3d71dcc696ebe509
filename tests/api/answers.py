"""What every answer is checked for: the shape of an error, an instant's form, and that a refusal changed nothing."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx

from tests.conftest import TABLES

MEMBERS = {"type", "title", "status", "detail", "error_code", "timestamp"}
STATUS_OF = {
    "VALIDATION_ERROR": 400,
    "AUTHENTICATION_ERROR": 401,
    "AUTHORIZATION_ERROR": 403,
    "REAUTHENTICATION_REQUIRED": 403,
    "RESOURCE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "SLOT_UNAVAILABLE": 409,
    "DUPLICATE_BOOKING": 409,
    "EMAIL_ALREADY_REGISTERED": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "UNAVAILABLE": 503,
    "OVERLOADED": 503,
}


def refusal(response: httpx.Response, error_code: str, *fields: str) -> dict[str, Any]:
    """The body of this error, which has exactly the contract's members and names exactly these fields."""
    assert response.status_code == STATUS_OF[error_code], response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    body: dict[str, Any] = response.json()
    assert body["error_code"] == error_code, body
    assert body["status"] == response.status_code
    assert body["type"] == "/problems/" + error_code.lower().replace("_", "-")
    assert set(body) - {"errors"} == MEMBERS
    assert isinstance(body["title"], str)
    assert body["title"]
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert len(body["timestamp"]) == len("2026-03-01T10:00:00Z")
    assert abs((datetime.now(UTC) - instant(body["timestamp"])).total_seconds()) < 600
    assert {error["field"] for error in body.get("errors", [])} == set(fields), body
    for error in body.get("errors", []):
        assert set(error) == {"field", "message"}
        assert error["message"]
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    return body


def instant(text: str) -> datetime:
    """The instant, which answers write with a Z."""
    assert text.endswith("Z"), text
    return datetime.fromisoformat(text)


def shape(body: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    """The same body, which has exactly these keys and instants with a Z."""
    assert set(body) == keys
    for name, value in body.items():
        if value is not None and (name.endswith("_at") or name in {"slot_datetime", "last_login"}):
            instant(value)
    return body


def next_page(response: httpx.Response) -> str | None:
    """The address of the next page, as the Link header names it."""
    link = response.headers.get("link")
    if link is None:
        return None
    assert link.startswith("<")
    address, _, relation = link.removeprefix("<").partition(">")
    assert relation == '; rel="next"'
    return str(address)


async def read_pages(api: httpx.AsyncClient, path: str, limit: int, **options: Any) -> list[list[int]]:
    """The ids of every page, from the first to the one that names no next."""
    pages = []
    address: str | None = f"{path}{'&' if '?' in path else '?'}limit={limit}"
    while address is not None:
        answer = await api.get(address.removeprefix("/api/v1"), **options)
        assert answer.status_code == 200, answer.text
        pages.append([row["id"] for row in answer.json()])
        address = next_page(answer)
    return pages


async def digest(owner: asyncpg.Connection) -> str:
    """A digest of every row of every table, but for the audit, which tells of refusals too."""
    parts = [
        f"(SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t)"
        for table in TABLES.split(", ")
        if not table.startswith("audit_")
    ]
    return str(await owner.fetchval(f"SELECT concat_ws(' ', {', '.join(parts)})"))
