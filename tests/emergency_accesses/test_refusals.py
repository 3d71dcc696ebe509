"""What breaking the glass refuses by form."""

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import all_refused, bad_ids, bodies, each, texts, urls_refused
from tests.factories import World

REASON = "Unconscious in the emergency room."


async def test_open_record(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    path = f"/patients/{patient.patient_id}/emergency-access"
    cases = [*bodies("reason"), *texts("reason", 1000, lines=True, required=True)]
    cases += each("reason", "too short", " too short  ", "x" * 9)
    await all_refused(api, owner, ("POST", path), doctor.headers, {"reason": REASON}, cases)
    refusal(await api.post(path, headers=doctor.headers), "VALIDATION_ERROR", "body")
    for reason in ("x" * 10, "x" * 1000, "Bleeding,\nno relatives."):
        assert (await api.post(path, json={"reason": reason}, headers=doctor.headers)).status_code == 201


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor = await world.doctor()
    cases = bad_ids("/patients/{}/emergency-access", "patient_id")
    await urls_refused(api, owner, doctor.headers, cases, "POST")
