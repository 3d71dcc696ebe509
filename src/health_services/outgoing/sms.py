"""Text messages, through an HTTP gateway that speaks Twilio's protocol, as many do."""

import json
import re
from typing import Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

import aiohttp

from health_services.outgoing.errors import NotNow, Undeliverable
from health_services.outgoing.http import Answer, outgoing_session, post
from health_services.settings import Settings

# The message, its number or its sender is refused; anything else may be mended on either side.
_REFUSALS = frozenset({400, 404, 410, 422})
# As in +44 (0)20: what is dialled only inside the country.
_TRUNK_PREFIX = re.compile(r"(?<=\d)\s*\(0\)")
_PUNCTUATION = re.compile(r"[\s().\-/\u2010-\u2015]")
_NUMBER = re.compile(r"(?:\+[1-9][0-9]{6,14}|[0-9]{7,15})")


class SmsGateway(Protocol):
    """Sends text messages."""

    async def send(self, number: str, text: str, reference: str) -> None:
        """Hand over one message; what is sent twice with one `reference` (printable ASCII) is one message.

        Raises Undeliverable or NotNow.
        """

    async def close(self) -> None:
        """Let go of every connection."""


class TwilioSms:
    """A gateway that takes Twilio's form.

    `url` holds user and password; without a path it is Twilio's own, of the account `user`. `sender` is a number or
    name that the gateway knows. `timeout` is in seconds.
    """

    def __init__(self, url: str, sender: str, *, timeout: float = 20) -> None:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        path = parts.path.strip("/") and parts.path
        self._url = urlunsplit(
            parts._replace(
                netloc=parts.netloc.rpartition("@")[2],
                path=path or f"/2010-04-01/Accounts/{quote(user, safe='')}/Messages.json",
            )
        )
        self._auth = (user, password) if parts.username is not None else None
        self._sender = sender
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def send(self, number: str, text: str, reference: str) -> None:
        """Send; raises Undeliverable where the gateway will never take it, NotNow where it may take it later."""
        form = {"To": dialled(number), "From": self._sender, "Body": text}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Idempotency-Key": reference,
            "I-Twilio-Idempotency-Token": reference,
        }
        if self._session is None:
            # the operator's own gateway may well stand in a private network
            self._session = outgoing_session(allow_private=True, timeout=self._timeout)
        data = urlencode(form).encode()
        answer = await post(self._session, self._url, data=data, headers=headers, auth=self._auth, reads_body=True)
        if answer.is_success:
            return
        if answer.status in _REFUSALS:
            raise Undeliverable(f"refused by the SMS gateway ({_codes(answer)})")
        raise NotNow(f"the SMS gateway answered {answer.status}", answer.retry_after)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()


class NoSms:
    """No gateway: nothing can be sent."""

    async def send(self, number: str, text: str, reference: str) -> None:  # noqa: ARG002 - the protocol's
        """Raise Undeliverable."""
        raise Undeliverable("no SMS gateway is set up")

    async def close(self) -> None:
        """Nothing is held."""


def dialled(number: str) -> str:
    """The number as a gateway takes it: + and digits (E.164).

    A number without a country code stays digits only: the gateway may know its country, we would only guess, and the
    message would reach a stranger. Raises Undeliverable for what is no number.
    """
    digits = _PUNCTUATION.sub("", _TRUNK_PREFIX.sub("", number))
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    if not _NUMBER.fullmatch(digits):
        raise Undeliverable("no usable mobile number")
    return digits


def _codes(answer: Answer) -> str:
    """The status, and Twilio's own code if there is one: numbers only, since texts may repeat the phone number."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    code = body.get("code") if isinstance(body, dict) else None
    return f"{answer.status}, {code}" if type(code) is int and 0 < code < 1_000_000 else str(answer.status)


def sms_gateway_of(settings: Settings) -> SmsGateway:
    """The gateway of the settings; the one that sends nothing where none is set up."""
    if settings.sms_url is None:
        return NoSms()
    assert settings.sms_from is not None, "the settings insist on it"
    return TwilioSms(settings.sms_url.get_secret_value(), settings.sms_from)
