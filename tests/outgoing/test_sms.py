"""Text messages: what the gateway is sent, and what its answers mean."""

import json
from urllib.parse import parse_qsl

import pytest
from pydantic import SecretStr

from health_services.outgoing.errors import NotNow, SendingFailed, Undeliverable
from health_services.outgoing.sms import NoSms, SmsGateway, TwilioSms, dialled, sms_gateway_of
from health_services.settings import Settings
from tests.outgoing.servers import Handler, Received, answering, hanging, serving

ANN = "+441632960961"


async def received(path: str = "", *, credentials: str = "AC1:secret@") -> Received:
    """What a gateway with such a URL receives of one message."""
    async with serving(answering(201, b'{"sid": "SM1", "status": "queued"}')) as server:
        url = SecretStr(server.url.replace("://", f"://{credentials}") + path)
        gateway = sms_gateway_of(Settings(sms_url=url, sms_from="+15550100"))
        try:
            await gateway.send("+44 1632 960961", "Tomorrow, 10:00 & \u00fc\n\U0001f44b=+", "message-7")
        finally:
            await gateway.close()
    [request] = server.received
    return request


async def test_a_message_as_it_arrives():
    request = await received()
    assert (request.method, request.path) == ("POST", "/2010-04-01/Accounts/AC1/Messages.json")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert sorted(parse_qsl(request.body.decode(), strict_parsing=True)) == [
        ("Body", "Tomorrow, 10:00 & \u00fc\n\U0001f44b=+"),
        ("From", "+15550100"),
        ("To", ANN),
    ]
    assert request.headers["Authorization"] == "Basic QUMxOnNlY3JldA=="
    assert request.headers["Idempotency-Key"] == "message-7"
    assert request.headers["I-Twilio-Idempotency-Token"] == "message-7"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/2010-04-01/Accounts/AC1/Messages.json"),
        ("/sms", "/sms"),
        ("/a/b.json?region=eu", "/a/b.json?region=eu"),
        ("?region=eu", "/2010-04-01/Accounts/AC1/Messages.json?region=eu"),
    ],
)
async def test_the_path_of_the_url(path: str, expected: str):
    assert (await received(path)).path == expected


async def test_credentials_may_hold_any_character():
    request = await received(credentials="a%2Fb:p%40ss%3A%C3%A9@")
    assert request.path == "/2010-04-01/Accounts/a%2Fb/Messages.json"
    assert request.headers["Authorization"] == "Basic YS9iOnBAc3M6w6k="


async def test_without_credentials_none_are_sent():
    request = await received("/sms", credentials="")
    assert "Authorization" not in request.headers


async def outcome(handler: Handler, *, timeout: float = 20) -> SendingFailed | None:
    """How sending ends when the gateway answers so."""
    async with serving(handler) as server:
        gateway = TwilioSms(server.url + "/sms", "Clinic", timeout=timeout)
        try:
            await gateway.send(ANN, "Hello", "1")
        except SendingFailed as failure:
            return failure
        finally:
            await gateway.close()
    return None


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_taken(status: int):
    assert await outcome(answering(status)) is None


@pytest.mark.parametrize("status", [400, 404, 410, 422])
@pytest.mark.parametrize("code", [21211, 21408, 21610, 21614])
async def test_refused_with_a_code(status: int, code: int):
    body = {"code": code, "message": f"The number {ANN} is not valid.", "status": status}
    failure = await outcome(answering(status, json.dumps(body).encode()))
    assert isinstance(failure, Undeliverable)
    assert failure.reason == f"refused by the SMS gateway ({status}, {code})"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b"\xff", b"[" * 60_000, b'{"code": "+441632960961"}', b'{"code": 441632960961}',
        b'{"code": -1}', b'{"code": true}', b'{"code": 1e3}', b'{"code": ' + b"9" * 10_000 + b"}",
    ],
)  # fmt: skip
async def test_refused_without_a_usable_code(body: bytes):
    failure = await outcome(answering(400, body))
    assert isinstance(failure, Undeliverable)
    assert failure.reason == "refused by the SMS gateway (400)"


@pytest.mark.parametrize("status", [301, 307, 401, 403, 405, 429, 500, 502, 503])
async def test_may_be_taken_later(status: int):
    failure = await outcome(answering(status, b'{"code": 20429}', Retry_After="30", Location="/other"))
    assert isinstance(failure, NotNow)
    assert (failure.reason, failure.retry_after) == (f"the SMS gateway answered {status}", 30.0)


async def test_no_answer():
    failure = await outcome(hanging, timeout=0.3)
    assert isinstance(failure, NotNow)
    assert (failure.reason, failure.retry_after) == ("no answer in time", None)


NUMBERS = {
    "+441632960961": ANN,
    " +44 1632-960.961 ": ANN,
    "+44 (0)1632 960961": ANN,
    "+44(0) 1632/960961": ANN,
    "0044 1632 960961": ANN,
    "+44\u00a01632\u2011960961": ANN,
    "+1 (555) 010-0000": "+15550100000",
    "+123456789012345": "+123456789012345",
    # no country code: not ours to guess
    "9876543210": "9876543210",
    "01632 960961": "01632960961",
    "555 0100": "5550100",
}


@pytest.mark.parametrize("number", NUMBERS)
def test_usable_numbers(number: str):
    assert dialled(number) == NUMBERS[number]


@pytest.mark.parametrize(
    "number",
    [
        "", "+", "none", "+44", "123456", "+1234567890123456", "1234567890123456", "+0441632960961", "000441632960961",
        "++441632960961", "44+1632960961", "+441632960961 ext 5", "+44163296O961", "+\u0664\u06641632960961",
        "+441632960961,+441632960962", "+441632960961;ext=1", "a@example.org",
    ],
)  # fmt: skip
async def test_unusable_numbers_are_not_sent(number: str):
    async with serving(answering()) as server:
        gateway = TwilioSms(server.url + "/sms", "Clinic")
        with pytest.raises(Undeliverable, match=r"^no usable mobile number$"):
            await gateway.send(number, "Hello", "1")
        await gateway.close()
    assert server.received == []


async def test_without_a_gateway_nothing_is_sent():
    gateway: SmsGateway = sms_gateway_of(Settings())
    assert isinstance(gateway, NoSms)
    with pytest.raises(Undeliverable, match=r"^no SMS gateway is set up$"):
        await gateway.send(ANN, "Hello", "1")
    await gateway.close()
