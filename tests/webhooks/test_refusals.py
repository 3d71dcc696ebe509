"""What the endpoints of webhooks refuse by form, and which URLs."""

import asyncpg
import httpx
import pytest

from tests.api.answers import refusal
from tests.api.refusals import all_refused, bad_ids, bad_pages, bodies, each, urls_refused
from tests.factories import World
from tests.webhooks.hooks import Hooks

GOOD = {"url": "https://8.8.8.8/hooks", "events": ["appointment.booked"]}
MALFORMED: tuple[object, ...] = (
    "", "   ", "hooks", "//8.8.8.8/", "https://", "https:///hooks", "https:8.8.8.8/", "ftp://8.8.8.8/", "file:///etc",
    "javascript:alert(1)", "https://user@8.8.8.8/", "https://user:password@8.8.8.8/", "https://@8.8.8.8/",
    "https://8.8.8.8/#part", "https://8.8.8.8/#", "https://8.8.8.8/a b", "https://8.8.8.8/\nx", "https://8.8.8.8/\u00e9",
    "https://8.8.8.8\\@127.0.0.1/", "https://8.8.8.8:0/", "https://8.8.8.8:65536/", "https://8.8.8.8:x/",
    "https://[::1", "https://[8.8.8.8]x/", "https://a..b/", "https://.a/", f"https://{'a' * 64}.org/",
    "https://exa%6dple.org/", "https://a_b!.org/", "https://8.8.8.8/" + "x" * 1985, 1, True, None, [], {},
)  # fmt: skip
PRIVATE = (
    "localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0", "10.0.0.1",
    "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[::]", "[::1]",
    "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "LOCALHOST",
)  # fmt: skip
EVENTS = [
    *each("events", [], None, "appointment.booked", 1, {}, ["slot.created", "slot.created"], ["slot.created"] * 9),
    *each("events", ["slot.created", "slot.deleted", "slot.created"]),
]


def of_events() -> list[tuple[list[object], tuple[str, ...]]]:
    """Lists with unknown events, and which of them the refusal names."""
    return [
        (["slot.made"], ("events[0]",)),
        (["slot.created", "*", "appointment.booked", 1, None], ("events[1]", "events[3]", "events[4]")),
        (["SLOT.CREATED", ["slot.deleted"]], ("events[0]", "events[1]")),
    ]


async def test_create(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin = await world.admin()
    cases = [*bodies("url", "events"), *each("url", *MALFORMED), *EVENTS]
    cases += [case for field in ("secret", "is_active") for case in each(field, True)]
    await all_refused(api, owner, ("POST", "/webhooks"), admin.headers, GOOD, cases)
    assert (await api.post("/webhooks", json=GOOD, headers=admin.headers)).status_code == 201


async def test_update(api: httpx.AsyncClient, world: World, hooks: Hooks):
    admin, webhook = await world.admin(), await hooks.webhook("https://8.8.8.8/")
    request = ("PUT", f"/webhooks/{webhook}")
    cases = [*bodies(), *each("url", *MALFORMED), *EVENTS, *each("is_active", None, "true", 1, "", [])]
    cases += each("disabled_reason", None, "x")
    await all_refused(api, hooks.owner, request, admin.headers, {}, cases)
    assert (await api.request(*request, json={}, headers=admin.headers)).status_code == 200


async def test_each_refused_event_is_named(api: httpx.AsyncClient, world: World, hooks: Hooks):
    admin, webhook = await world.admin(), await hooks.webhook("https://8.8.8.8/")
    for events, fields in of_events():
        body: dict[str, object] = {**GOOD, "events": events}
        refusal(await api.post("/webhooks", json=body, headers=admin.headers), "VALIDATION_ERROR", *fields)
        answer = await api.put(f"/webhooks/{webhook}", json={"events": events}, headers=admin.headers)
        refusal(answer, "VALIDATION_ERROR", *fields)
    body = {**GOOD, "events": ["slot.created", "slot.deleted", "slot.created"]}
    twice = refusal(await api.post("/webhooks", json=body, headers=admin.headers), "VALIDATION_ERROR", "events")
    assert "slot.created" in twice["detail"]
    assert "slot.deleted" not in twice["detail"]


async def test_private_addresses(api: httpx.AsyncClient, world: World, hooks: Hooks):
    admin, webhook = await world.admin(), await hooks.webhook("https://8.8.8.8/")
    urls = [f"https://{host}{port}/hooks" for host in PRIVATE for port in ("", ":8443")] + ["http://8.8.8.8/"]
    cases = each("url", *urls)
    await all_refused(api, hooks.owner, ("POST", "/webhooks"), admin.headers, GOOD, cases)
    await all_refused(api, hooks.owner, ("PUT", f"/webhooks/{webhook}"), admin.headers, {}, cases)


@pytest.mark.usefixtures("private_allowed")
async def test_private_addresses_where_the_operator_allows_them(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    for url in ("http://127.0.0.1:8080/hooks", "https://localhost", "http://[::1]:9/", "http://my_receiver:80/x?y=%20"):
        answer = await api.post("/webhooks", json=GOOD | {"url": f" {url} "}, headers=admin.headers)
        assert (answer.status_code, answer.json()["url"]) == (201, url)
        changed = await api.put(f"/webhooks/{answer.json()['id']}", json={"url": url}, headers=admin.headers)
        assert changed.status_code == 200


async def test_the_longest_url_and_all_events(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    events = [
        "slot.deleted", "slot.created", "appointment.no_show", "appointment.completed", "appointment.rescheduled",
        "appointment.cancelled", "appointment.confirmed", "appointment.booked",
    ]  # fmt: skip
    body = {"url": "https://8.8.8.8/" + "x" * 1984, "events": events}
    made = (await api.post("/webhooks", json=body, headers=admin.headers)).json()
    assert made | body == made


async def test_addresses(api: httpx.AsyncClient, world: World, hooks: Hooks):
    headers, webhook = (await world.admin()).headers, await hooks.webhook("https://8.8.8.8/")
    lists = bad_pages("/webhooks") | bad_pages(f"/webhooks/{webhook}/deliveries?state=sent")
    states = {f"/webhooks/{webhook}/deliveries?state={state}": "state" for state in ("", "SENT", "waiting", "%00")}
    paths = bad_ids("/webhooks/{}", "webhook_id") | bad_ids("/webhooks/{}/deliveries", "webhook_id")
    again = f"/webhooks/{webhook}/deliveries/{{}}/redeliver"
    await urls_refused(api, hooks.owner, headers, lists | states | paths, "GET")
    await urls_refused(api, hooks.owner, headers, bad_ids("/webhooks/{}", "webhook_id"), "PUT")
    await urls_refused(api, hooks.owner, headers, bad_ids("/webhooks/{}", "webhook_id"), "DELETE")
    await urls_refused(api, hooks.owner, headers, bad_ids("/webhooks/{}/rotate-secret", "webhook_id"), "POST")
    await urls_refused(api, hooks.owner, headers, bad_ids(again, "delivery_id"), "POST")
