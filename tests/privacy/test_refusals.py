"""What the endpoints of export and erasure refuse by form."""

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import all_refused, bad_ids, bodies, texts, urls_refused
from tests.factories import World


async def test_erase(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    path = f"/patients/{patient.patient_id}/erase"
    cases = [*bodies("reason"), *texts("reason", 1000, lines=True, required=True)]
    await all_refused(api, owner, ("POST", path), patient.headers, {"reason": "I move away."}, cases)
    refusal(await api.post(path, headers=patient.headers), "VALIDATION_ERROR", "body")


async def test_unknown_people(api: httpx.AsyncClient, world: World):
    patient, admin = await world.patient(), await world.admin()
    for caller, code in ((admin, "RESOURCE_NOT_FOUND"), (patient, "RESOURCE_NOT_FOUND")):
        refusal(await api.get("/patients/987654/export", headers=caller.headers), code)
        body = {"reason": "I move away."}
        refusal(await api.post("/patients/987654/erase", json=body, headers=caller.headers), code)


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    export = f"/patients/{patient.patient_id}/export"
    forms = {f"{export}?format={wrong}": "format" for wrong in ("xml", "", "ZIP", "zip%00", "1")}
    forms |= {f"{export}?format=zip&format=json": "format", f"{export}?limit=3": "limit"}
    await urls_refused(api, owner, patient.headers, forms | bad_ids("/patients/{}/export", "patient_id"), "GET")
    await urls_refused(api, owner, patient.headers, bad_ids("/patients/{}/erase", "patient_id"), "POST")
