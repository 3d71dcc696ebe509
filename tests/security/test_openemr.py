"""Holes of OpenEMR, CARLOS EMR and smaller systems, tried here."""

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.access.permissions import Token
from tests.access.cast import Cast, fingerprint, make_cast
from tests.api.answers import refusal
from tests.api_keys.keys import make_key
from tests.factories import World
from tests.security.probing import assert_tells_nothing, operations

SQL = (
    "1 OR 1=1", "1'", "1;DROP TABLE users", "1 UNION SELECT password_hash FROM users", "-1", "0x1", "1e3", "1.0",
    "1/**/", "１", "null", "true", "[1]", "9" * 19, "9" * 5000, "%27", "1%00",
)  # fmt: skip
SORTING = (
    "_sort",
    "sort",
    "order",
    "order_by",
    "orderBy",
    "fields",
    "filter",
    "q",
    "where",
    "include",
    "group",
    "limit[]",
)
SUBQUERY = "name,(select password_hash from users limit 1)"


async def test_openemr_cve_2026_25164_every_operation_asks_who_is_calling(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """CVE-2026-25164: one group of routes (documents, insurance) was registered without the check.

    Each operation of the document is called by nobody, and by one of each role that may not come through its door.
    """
    cast = await make_cast(world)
    people = {"patient": cast.patient, "doctor": cast.doctor, "staff": cast.staff, "admin": cast.admin}
    before, refused = await fingerprint(owner), 0
    for operation in operations(app):
        if operation.rule is None or operation.rule.token is not Token.REQUIRED:
            continue
        url = operation.url(cast.ids)
        refusal(await api.request(operation.method, url), "AUTHENTICATION_ERROR")
        for role in people.keys() - operation.rule.roles:
            answer = await api.request(operation.method, url, headers=people[role].headers)
            refusal(answer, "AUTHORIZATION_ERROR")
            refused += 1
    assert refused > 60
    assert await fingerprint(owner) == before


async def test_openemr_cve_2026_24908_nobody_sorts_or_selects_by_what_he_writes(
    api: httpx.AsyncClient, app: FastAPI, world: World
):
    """CVE-2026-24908 (CVSS 10): `_sort` went into the statement as it was."""
    cast = await make_cast(world)
    for operation in operations(app):
        if operation.method != "GET" or operation.rule is None or "{token}" in operation.path:
            continue
        for name in SORTING:
            answer = await api.get(operation.url(cast.ids), params={name: SUBQUERY}, headers=cast.admin.headers)
            refusal(answer, "VALIDATION_ERROR", name)


async def test_openemr_cve_2026_25745_a_child_of_another_parent_is_not_there(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """CVE-2026-25745: `PUT /patients/{mine}/messages/{theirs}` changed theirs."""
    cast = await make_cast(world)
    elsewhere = await owner.fetchval(
        "INSERT INTO webhooks (url, events, secret) VALUES ('https://8.8.4.4/', '{slot.deleted}', '') RETURNING id"
    )
    other_session = await owner.fetchval("SELECT id FROM sessions WHERE user_id = $1", cast.patient.user_id)
    before = await fingerprint(owner)
    for person, method, path in (
        (cast.admin, "POST", f"/webhooks/{elsewhere}/deliveries/{cast.ids['delivery_id']}/redeliver"),
        (cast.admin, "DELETE", f"/clinics/{cast.other_staff.clinic_id}/staff/{cast.staff.user_id}"),
        (cast.other_patient, "DELETE", f"/users/me/push-subscriptions/{cast.ids['subscription_id']}"),
        (cast.other_patient, "DELETE", f"/auth/sessions/{other_session}"),
        (cast.admin, "DELETE", f"/auth/sessions/{other_session}"),
        (cast.other_patient, "DELETE", f"/api-keys/{cast.ids['key_id']}"),
        (cast.other_patient, "GET", f"/api-keys/{cast.ids['key_id']}"),
    ):
        refusal(await api.request(method, path, headers=person.headers), "RESOURCE_NOT_FOUND")
    path = f"/patients/{cast.other_patient.patient_id}/appointments/{cast.ids['appointment_id']}"
    refusal(await api.get(path, headers=cast.other_patient.headers), "RESOURCE_NOT_FOUND")
    assert await fingerprint(owner) == before


async def test_openemr_cve_2026_27943_no_session_holds_a_patient(api: httpx.AsyncClient, world: World):
    """CVE-2026-27943: looking at a form switched the session to its patient, whom the next request then concerned."""
    cast = await make_cast(world)
    mine, theirs = f"/patients/{cast.patient.patient_id}", f"/patients/{cast.other_patient.patient_id}"
    for _ in range(3):
        allowed = await api.get(mine, headers=cast.doctor.headers)
        assert allowed.json()["id"] == cast.patient.patient_id
        assert "set-cookie" not in allowed.headers
        refusal(await api.get(theirs, headers=cast.doctor.headers), "AUTHORIZATION_ERROR")
        for name in ("pid", "patient_id", "set_pid"):
            refusal(await api.get(mine, params={name: "1"}, headers=cast.doctor.headers), "VALIDATION_ERROR", name)
    listed = (await api.get(f"{theirs}/appointments", headers=cast.doctor.headers)).json()
    assert listed == []


async def test_openemr_cve_2026_32126_and_33302_one_right_never_lends_another(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """CVE-2026-32126 and 33302: the check for administrators was inverted, and an allowance outweighed a refusal.

    Whoever has the records of two roles has the rights of the one that his account names; each is shown to be able to
    do what he may, so that the refusals mean something.
    """
    cast = await make_cast(world)
    desk = "INSERT INTO clinic_staff (clinic_id, user_id) VALUES ($1, $2)"
    for person in (cast.other_doctor, cast.other_patient):
        await owner.execute(desk, cast.doctor.clinic_id, person.user_id)
    record = f"/patients/{cast.patient.patient_id}"
    for person in (cast.other_doctor, cast.other_patient, cast.other_staff):
        refusal(await api.get(record, headers=person.headers), "AUTHORIZATION_ERROR")
    refusal(await api.get("/appointments", headers=cast.other_doctor.headers), "AUTHORIZATION_ERROR")
    for person in (cast.patient, cast.doctor, cast.staff, cast.admin):
        assert (await api.get(record, headers=person.headers)).status_code == 200
    scopes = ("patients:*", "users:*", "audit:*", "appointments:*")
    every = await make_key(world, cast.doctor.user_id, *scopes)
    for path, code in ((record, 200), ("/users", 403), ("/audit", 403), ("/appointments", 403), ("/users/me", 403)):
        assert (await api.get(path, headers=every)).status_code == code, path
    narrow = await make_key(world, cast.admin.user_id, "slots:*")
    for path in (record, "/users", "/audit", "/appointments"):
        refusal(await api.get(path, headers=narrow), "AUTHORIZATION_ERROR")
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", cast.admin.user_id)
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", cast.doctor.user_id)
    refusal(await api.get(record, headers=cast.admin.headers), "AUTHENTICATION_ERROR")
    refusal(await api.get(record, headers=every), "AUTHENTICATION_ERROR")


async def test_openemr_portal_2018_who_is_not_verified_reaches_nothing_personal(
    api: httpx.AsyncClient, app: FastAPI, world: World, monkeypatch: pytest.MonkeyPatch
):
    """Project Insecurity, 2018: whoever had half registered at the portal walked on to its other pages."""
    changed = app.state.settings.model_copy(update={"require_verified_email": True})
    monkeypatch.setitem(app.state._state, "settings", changed)
    cast = await make_cast(world)
    people = {"patient": cast.patient, "doctor": cast.doctor, "staff": cast.staff, "admin": cast.admin}
    tried = 0
    for operation in operations(app):
        rule = operation.rule
        if rule is None or rule.token is not Token.REQUIRED or rule.is_account:
            continue
        for role in rule.roles:
            answer = await api.request(operation.method, operation.url(cast.ids), headers=people[role].headers)
            assert "Verify your e-mail" in refusal(answer, "AUTHORIZATION_ERROR")["detail"], operation
            tried += 1
    assert tried > 80
    assert (await api.get("/auth/profile", headers=cast.patient.headers)).status_code == 200


async def test_itsourcecode_cve_2026_3980_and_4473_and_10209_a_number_is_a_number(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """CVE-2026-3980, 4473 and 10209: SQL in patient_id, appointment_id and editid."""
    cast = await make_cast(world)
    before, tried = await fingerprint(owner), 0
    for operation in operations(app):
        numbers = [name for name in operation.parameters("path") if name.endswith("_id")]
        for name in numbers:
            for text in SQL:
                url = operation.url(cast.ids | {name: text})
                answer = await api.request(operation.method, url, headers=cast.admin.headers)
                assert answer.status_code in {400, 403, 404, 405}, f"{operation} {text}: {answer.status_code}"
                tried += 1
    assert tried > 500
    for value in (*SQL, 1.5, True, None, [1], {"$gt": 0}):
        await _refused_in_a_body(api, cast, value)
    assert await fingerprint(owner) == before


async def _refused_in_a_body(api: httpx.AsyncClient, cast: Cast, value: object) -> None:
    for field in ("patient_id", "doctor_id", "clinic_id", "slot_id"):
        body = {"patient_id": 1, "doctor_id": 1, "clinic_id": 1, "slot_id": 1, field: value}
        answer = await api.post("/appointments/book", json=body, headers=cast.admin.headers)
        refusal(answer, "VALIDATION_ERROR", field)


async def test_carlos_emr_107_what_hangs_on_a_record_is_guarded_like_the_record(
    api: httpx.AsyncClient, app: FastAPI, world: World
):
    """CARLOS EMR #107: `allergies?demographicNo=` showed what the record itself did not."""
    cast = await make_cast(world)
    tried = []
    for operation in operations(app):
        if operation.method != "GET" or not {"patient_id", "appointment_id"} & set(operation.parameters("path")):
            continue
        for person in (cast.other_patient, cast.other_doctor, cast.other_staff):
            answer = await api.get(operation.url(cast.ids), headers=person.headers)
            # others find in a patient's list what concerns themselves: nothing
            if not (operation.path.endswith("/appointments") and answer.json() == []):
                assert_tells_nothing(answer, cast)
        tried.append(operation.path)
    assert len(tried) >= 7
    for name in ("demographicNo", "patient_id"):
        answer = await api.get(f"/patients/{cast.other_patient.patient_id}", params={name: cast.patient.patient_id})
        refusal(answer, "AUTHENTICATION_ERROR")
