"""Nobody makes himself more than he is by sending more than an endpoint asks for.

OWASP API3 (BOPLA), and attacks 8, 22 and 25: Cal.com CVE-2026-23478, Amelia CVE-2026-5465, OpenEMR CVE-2026-25744.
Every body of the access table is sent by somebody who may send it, with one more field each time.
"""

from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.access.cast import fingerprint
from tests.api.answers import refusal
from tests.factories import World
from tests.test_access_matrix import BODIES, CALLERS, ROWS, Row, _stage

FIELDS = {
    "id": 1, "user_id": 1, "patient_id": 1, "doctor_id": 1, "role": "admin", "is_verified": True, "is_active": True,
    "password_hash": "!", "password": "three blue teapots", "email": "other@example.org", "scopes": ["users:write"],
    "created_by": 1, "created_at": "2026-03-01T10:00:00Z", "last_login": "2026-03-01T10:00:00Z", "secret_hash": "x",
    "booked_by_user_id": 1, "status": "completed", "externalId": 1, "__proto__": {"role": "admin"},
}  # fmt: skip
WRITES = [row for row in ROWS if (row.request, row.variant) in BODIES]


def _known(app: FastAPI, row: Row) -> set[str]:
    """The fields that the endpoint does ask for."""
    document = app.openapi()
    media = document["paths"][row.path][row.method.lower()]["requestBody"]["content"]["application/json"]["schema"]
    text, known = str(media), set()
    for name, schema in document["components"]["schemas"].items():
        if f"/{name}'" in text:
            known |= set(schema.get("properties", {}))
    return known


@pytest.mark.parametrize("row", WRITES, ids=str)
async def test_a_field_too_many_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, row: Row
):
    cast = await _stage(world, app, row, "!")
    person = cast.caller(max(CALLERS, key=lambda column: row.statuses[column] < 300))
    before = await fingerprint(owner)
    unknown = FIELDS.keys() - _known(app, row)
    assert len(unknown) >= 8
    for field in sorted(unknown):
        body: Any = BODIES[row.request, row.variant](cast)
        first = body[0] if isinstance(body, list) else body
        first[field] = FIELDS[field]
        url = f"http://test{row.path.format(**cast.ids)}"
        answer = await api.request(row.method, url, json=body, headers=person.headers if person else {})
        refusal(answer, "VALIDATION_ERROR", f"items[0].{field}" if isinstance(body, list) else field)
    assert await fingerprint(owner) == before
