"""What a key may do: what its owner may, and its scopes say; every request of the access table, by every caller."""

import re

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.access.permissions import SCOPES, Rule, Token, allows
from health_services.api_keys.schemas import KNOWN_SCOPES
from health_services.main import access_rules
from tests.access.cast import Cast, fingerprint
from tests.api_keys.keys import make_key
from tests.factories import World
from tests.test_access_matrix import BODIES, CALLERS, DOCUMENT, ROWS, Row, _stage

# These ask whom of a proof of who he is that is at most ten minutes old, which no key can give.
NEED_A_PERSON = {
    ("PUT /api/v1/users/{user_id}", "role"): {"administrator"},  # who makes an administrator
    ("POST /api/v1/users/invitations", "role admin"): {"administrator"},
    ("DELETE /api/v1/users/{user_id}/second-factors", ""): {"administrator"},
    ("POST /api/v1/patients/{patient_id}/emergency-access", ""): {"doctor concerned", "other doctor"},
    ("POST /api/v1/patients/{patient_id}/erase", ""): {"patient concerned"},
}


def _rule(app: FastAPI, row: Row) -> Rule | None:
    name = app.openapi()["paths"][row.path][row.method.lower()]["operationId"]
    return access_rules().get(name)


async def _call(api: httpx.AsyncClient, cast: Cast, row: Row, headers: dict[str, str]) -> httpx.Response:
    make_body = BODIES.get((row.request, row.variant), lambda _: None)
    url = f"http://test{row.path.format(**cast.ids)}"
    return await api.request(row.method, url, json=make_body(cast), headers=headers)


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_a_key_reaches_what_its_owner_and_its_scope_reach(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, row: Row
):
    rule = _rule(app, row)
    if rule is None or rule.token is not Token.REQUIRED:
        return  # this door does not look at who is calling, or takes no key
    own = {rule.name, f"{rule.name.partition(':')[0]}:*"}
    scopes = KNOWN_SCOPES if rule.is_account else [rule.name]
    found, wanted = {}, {}
    cast = await _stage(world, app, row, "!")
    for column in CALLERS[1:]:
        person = cast.caller(column)
        assert person is not None
        without = await make_key(world, person.user_id, *(set(KNOWN_SCOPES) - own))
        key = await make_key(world, person.user_id, *scopes)
        before = await fingerprint(owner)
        assert (await _call(api, cast, row, without)).status_code == 403, column
        assert await fingerprint(owner) == before, column
        found[column] = (await _call(api, cast, row, key)).status_code
        needs_person = rule.is_account or column in NEED_A_PERSON.get((row.request, row.variant), ())
        wanted[column] = 403 if needs_person else row.statuses[column]
        if await fingerprint(owner) != before:
            assert found[column] < 300, column
            cast = await _stage(world, app, row, "!")
    assert found == wanted


async def test_a_star_stands_for_all_of_a_resource_and_no_other(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    headers = await make_key(world, person.user_id, "patients:*")
    assert (await api.get(f"/patients/{person.patient_id}", headers=headers)).status_code == 200
    assert (await api.get(f"/patients/{person.patient_id}/appointments", headers=headers)).status_code == 200
    refused = await api.get("/users/me/preferences", headers=headers)
    assert (refused.status_code, "preferences:read" in refused.json()["detail"]) == (403, True)


async def test_the_directory_asks_for_no_scope(api: httpx.AsyncClient, world: World):
    headers = await make_key(world, (await world.patient()).user_id, "slots:*")
    assert (await api.get("/clinics", headers=headers)).status_code == 200


def test_no_scope_opens_an_account():
    """How somebody signs in is beyond every key, whatever scopes it could be given."""
    rules = access_rules().values()
    accounts = [rule for rule in rules if rule.is_account]
    assert {rule.name for rule in accounts} & SCOPES == set()
    assert not [rule.name for rule in accounts if allows(frozenset(KNOWN_SCOPES), rule)]
    assert {"api-keys:write", "users:me", "auth:profile"} <= {rule.name for rule in accounts}
    required = {rule.name for rule in rules if rule.token is Token.REQUIRED and not rule.is_account}
    assert required <= SCOPES


def test_the_documentation_names_every_scope():
    text = (DOCUMENT.parent / "security.md").read_text()
    paragraph = text.partition("\nThe scopes: ")[2].partition("; and ")[0]
    assert set(re.findall(r"`([a-z:-]+)`", paragraph)) == SCOPES
