"""What the endpoints of the audit refuse by form."""

import asyncpg
import httpx

from tests.api.refusals import bad_ids, bad_instants, bad_pages, urls_refused
from tests.factories import World


async def test_the_audit(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    cases = bad_pages("/audit") | bad_instants("/audit", "date_from", "date_to")
    for name in ("user_id", "patient_id"):
        cases |= bad_ids(f"/audit?{name}={{}}", name)
    cases |= {f"/audit?action={value}": "action" for value in ("", "%20", "a%00b", "a%0Ab", "x" * 101)}
    cases |= {f"/audit?outcome={value}": "outcome" for value in ("", "Success", "ok", "%00")}
    await urls_refused(api, owner, (await world.admin()).headers, cases, "GET")


async def test_the_access_log(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    path = f"/patients/{patient.patient_id}/access-log"
    cases = bad_pages(path) | bad_ids("/patients/{}/access-log", "patient_id") | {f"{path}?user_id=1": "user_id"}
    await urls_refused(api, owner, patient.headers, cases, "GET")
