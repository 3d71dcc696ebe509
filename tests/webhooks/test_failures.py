"""What fails is tried again, ever more seldom."""

from datetime import timedelta

import pytest
from aiohttp import web

from health_services.webhooks.delivery import ATTEMPTS, SCHEDULE, delay_after
from tests.outgoing.servers import answering, hanging, serving, speaking
from tests.webhooks.hooks import Hooks, send_all

SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


def test_the_schedule():
    assert [delay_after(attempt, None, 0.5).total_seconds() for attempt in range(1, 10)] == list(SECONDS)
    assert len(SCHEDULE) + 1 == ATTEMPTS == 10


@pytest.mark.parametrize("attempt", range(1, 10))
def test_the_jitter_is_a_tenth_either_way(attempt: int):
    planned = timedelta(seconds=SECONDS[attempt - 1])
    assert delay_after(attempt, None, 0.0) == planned * 0.9
    assert delay_after(attempt, None, 1.0) == planned * 1.1


def test_the_receiver_may_ask_for_more_time_but_not_for_less():
    assert delay_after(1, 60.0, 0.5) == timedelta(minutes=1)
    assert delay_after(2, 60.0, 0.5) == timedelta(minutes=5)
    assert delay_after(1, 1e9, 0.5) == timedelta(hours=24)
    assert delay_after(9, 1e9, 1.0) == timedelta(hours=26.4)


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, "3600", 3600), (502, "60", 60), (503, "60", 60), (504, "60", 60), (503, "999999999", 86_400),
        (500, "3600", 5), (404, "3600", 5), (503, "1", 5), (429, "soon", 5),
    ],
)  # fmt: skip
async def test_retry_after(status: int, retry_after: str, seconds: int, hooks: Hooks):
    async with serving(answering(status, Retry_After=retry_after)) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
    row = await hooks.delivery(delivery)
    assert (row["state"], row["response_status"], row["wait"]) == ("queued", status, timedelta(seconds=seconds))


@pytest.mark.parametrize("status", [300, 400, 401, 403, 404, 408, 409, 418, 422, 499, 500, 501, 599])
async def test_everything_else_is_a_failure(status: int, hooks: Hooks):
    async with serving(answering(status, b"Ada Wong, a rash")) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
    row = await hooks.delivery(delivery)
    assert (row["state"], row["response_status"], row["sent_at"]) == ("queued", status, None)
    assert row["last_error"].startswith(f"answered {status}")
    assert "Ada" not in row["last_error"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int, hooks: Hooks):
    async with (
        serving(answering(200)) as elsewhere,
        serving(answering(status, Location=elsewhere.url)) as server,
        hooks.sender() as sender,
    ):
        delivery = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
    row = await hooks.delivery(delivery)
    assert (row["state"], row["last_error"]) == ("queued", f"answered {status}; redirects are not followed")
    assert (len(server.received), elsewhere.received) == (1, [])


@pytest.mark.parametrize(
    "words", [b"", b"\x00\xff nonsense\r\n\r\n", b"HTTP/1.1 999999 ?\r\n\r\n", b"HTTP/1.1 200", b"SSH-2.0-x\r\n"]
)
async def test_a_receiver_that_speaks_no_http(words: bytes, hooks: Hooks):
    async with speaking(words) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
    row = await hooks.delivery(delivery)
    assert (row["state"], row["response_status"], row["last_error"]) == ("queued", None, "the connection broke")


async def test_nobody_there_and_nobody_answering(hooks: Hooks):
    async with serving(hanging) as gone:
        pass
    async with serving(hanging) as server, hooks.sender(timeout=0.3) as sender:
        nobody = await hooks.queue(await hooks.webhook(gone.url))
        silent = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
    errors = [(await hooks.delivery(delivery))["last_error"] for delivery in (nobody, silent)]
    assert errors == ["no connection", "no answer in time"]
    assert await hooks.states(nobody, silent) == ["queued", "queued"]


async def test_the_status_counts_however_much_is_answered(hooks: Hooks):
    async def talkative(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=200)
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 65_536)
        return response

    async with serving(talkative) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
    assert await hooks.states(delivery) == ["sent"]
