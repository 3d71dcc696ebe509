"""What refreshing and signing out refuse by form."""

from typing import Any

import asyncpg
import httpx

from tests.api.answers import digest, refusal
from tests.api.refusals import Wrong, all_refused, bad_ids, bad_pages, each, urls_refused
from tests.sessions.visitors import Visitor

TOKENS = ("", "x" * 201, "x" * 10_240, 1, 1.5, True, ["a"], {"a": 1})


async def test_bodies(api: httpx.AsyncClient, ada: Visitor, owner: asyncpg.Connection):
    good = {"refresh_token": ada.refresh}
    cases = [*each("refresh_token", *TOKENS, None), Wrong(body={}, fields=("refresh_token",))]
    others: tuple[Any, ...] = ("text", 5, True, [])
    cases += [Wrong(body=body, fields=("body",)) for body in others]
    cases += [Wrong({name: 1}, (name,)) for name in ("surprise", "user_id", "session_id", "csrf_token", "refresh_in")]
    for path in ("/auth/refresh", "/auth/logout"):
        await all_refused(api, owner, ("POST", path), {}, good, cases)
        before = await digest(owner)
        refusal(await api.post(path), "VALIDATION_ERROR", "refresh_token")
        as_form = await api.post(path, data=good)
        refusal(as_form, "UNSUPPORTED_MEDIA_TYPE")
        assert await digest(owner) == before
    assert (await ada.renew()).status_code == 200


async def test_addresses(api: httpx.AsyncClient, ada: Visitor, owner: asyncpg.Connection):
    await urls_refused(api, owner, ada.headers, bad_pages("/auth/sessions"), "GET")
    await urls_refused(api, owner, ada.headers, bad_ids("/auth/sessions/{}", "session_id"), "DELETE")
    in_query = {f"/auth/refresh?refresh_token={ada.refresh}": "refresh_token", "/auth/logout?x=1": "x"}
    await urls_refused(api, owner, {}, in_query, "POST")
    await urls_refused(api, owner, ada.headers, {"/auth/logout-all?user_id=1": "user_id"}, "POST")


async def test_where_the_token_is_to_go(api: httpx.AsyncClient, ada: Visitor, owner: asyncpg.Connection):
    before = await digest(owner)
    places: tuple[Any, ...] = ("", "header", "Cookie", 1, True, None, ["body"], {})
    for place in places:
        refusal(await ada.login(refresh_in=place), "VALIDATION_ERROR", "refresh_in")
        account = {"name": "Eve", "email": "eve@example.org", "password": "three blue teapots", "refresh_in": place}
        refusal(await api.post("/auth/register", json=account), "VALIDATION_ERROR", "refresh_in")
    assert await digest(owner) == before
