"""The order of refusals: 401, 403 by role, 400, 404 and 403 by object, 409."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

from tests.access.cast import Cast, fingerprint, make_cast
from tests.factories import Person, World, booking

UNKNOWN = 987_654_321
MALFORMED: list[dict[str, Any]] = [
    {"content": b"{", "headers": {"Content-Type": "application/json"}},
    {"json": {"no_such_field": 1}},
    {"json": [1, 2]},
    {"params": {"no_such_parameter": "1"}},
]


@dataclass(frozen=True)
class Door:
    """A request in all its states: who has the wrong role, whose object it is not, and what stands against it."""

    request: str
    wrong_role: str | None
    not_his: str | None
    body: Callable[[Cast], Any] = lambda _: {}
    unknown: Callable[[Cast], Any] | None = None
    conflict: bool = False


def _book(cast: Cast) -> dict[str, Any]:
    """The patient holds this slot already."""
    return booking(cast.patient, cast.doctor, cast.ids["slot_id"])


def _book_unknown(cast: Cast) -> dict[str, Any]:
    return booking(cast.patient, cast.doctor, UNKNOWN)


DOORS = [
    Door("POST /appointments/book", None, "other patient", _book, _book_unknown, conflict=True),
    Door("POST /appointments/{appointment_id}/cancel", None, "other doctor", conflict=True),
    Door("PUT /appointments/{appointment_id}", "patient concerned", "other doctor", lambda _: {"notes": "Rest."}),
    Door("PUT /patients/{patient_id}", None, "other patient", lambda _: {"sex": "male"}),
    Door("DELETE /slots/{slot_id}", "doctor concerned", "staff of another clinic", conflict=True),
    Door("PUT /doctors/{doctor_id}", "doctor concerned", None, lambda _: {"experience_years": 3}),
    Door("PUT /clinics/{clinic_id}", "staff of the clinic", None, lambda _: {"city": "Boston"}),
    Door("PUT /webhooks/{webhook_id}", "doctor concerned", None, lambda _: {"is_active": False}),
    Door("DELETE /webhooks/{webhook_id}", "staff of the clinic", None),
    Door("DELETE /users/me/push-subscriptions/{subscription_id}", None, None),
]


def _right_person(door: Door, cast: Cast) -> Person:
    return cast.doctor if "notes" in str(door.body(cast)) else cast.admin


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.request)
async def test_refusals_come_in_their_order(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, door: Door
):
    cast = await make_cast(world, **({"status": "completed"} if "cancel" in door.request else {}))
    right = _right_person(door, cast)
    method, path = door.request.split(" ")
    before = await fingerprint(owner)

    async def ask(person: Person | None, ids: dict[str, int], **more: Any) -> int:
        headers = (person.headers if person else {}) | more.pop("headers", {})
        answer = await api.request(method, path.format(**ids), headers=headers, **more)
        return answer.status_code

    nowhere = dict.fromkeys(cast.ids, UNKNOWN)
    for malformed in MALFORMED:
        if method == "DELETE" and "params" not in malformed:
            continue
        assert await ask(None, cast.ids, **malformed) == 401
        assert await ask(None, nowhere, **malformed) == 401
        if door.wrong_role:
            assert await ask(cast.caller(door.wrong_role), nowhere, **malformed) == 403
        if door.not_his:
            assert await ask(cast.caller(door.not_his), cast.ids, **malformed) == 400
        assert await ask(right, nowhere, **malformed) == 400

    body = {} if method == "DELETE" else {"json": door.body(cast)}
    if door.wrong_role:
        assert await ask(cast.caller(door.wrong_role), nowhere, **body) == 403
    no_such = {"json": door.unknown(cast)} if door.unknown else body
    assert await ask(right, nowhere, **no_such) == 404
    if door.not_his:
        assert await ask(cast.caller(door.not_his), nowhere, **no_such) == 404
        assert await ask(cast.caller(door.not_his), cast.ids, **body) == 403
    if door.conflict:
        assert await ask(right, cast.ids, **body) == 409
    assert await fingerprint(owner) == before


@pytest.mark.parametrize("path", ["/patients/abc", "/appointments/1e3", "/patients/0/appointments"])
async def test_a_malformed_address_is_no_way_around(api: httpx.AsyncClient, world: World, path: str):
    assert (await api.get(path)).status_code == 401
    assert (await api.get(path, headers=(await world.admin()).headers)).status_code == 400


async def test_the_wrong_kind_of_body_is_refused_after_the_caller(api: httpx.AsyncClient, world: World):
    patient, admin = await world.patient(), await world.admin()
    text = {"Content-Type": "text/plain"}
    for person, status in ((None, 401), (patient, 403), (admin, 415)):
        headers = text | (person.headers if person else {})
        assert (await api.post("/clinics", content=b"name=x", headers=headers)).status_code == status
