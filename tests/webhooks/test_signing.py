"""Signatures, as the public library judges them, and secrets at rest."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import standardwebhooks
from standardwebhooks.webhooks import WebhookVerificationError

from health_services.webhooks import signing

MESSAGE = UUID("8f14e45f-ceea-467f-a0f1-d2c3b4a59687")
BODY = '{"type":"appointment.booked","data":{"place":"Zürich"}}'.encode()
SERVER_SECRET = b"a secret of tests, and long enough"


def test_the_specifications_own_library_believes_it():
    secret = signing.new_secret()
    headers = signing.headers([secret], MESSAGE, datetime.now(UTC), BODY)
    assert standardwebhooks.Webhook(secret).verify(BODY, headers)["data"] == {"place": "Zürich"}


def test_a_known_answer():
    """Made with OpenSSL: printf of id, time and body through dgst -sha256 -hmac."""
    secret = signing.PREFIX + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    headers = signing.headers([secret], MESSAGE, datetime(2026, 3, 1, 10, 0, 0, 999_999, UTC), b'{"a":1}')
    assert headers == {
        "webhook-id": "msg_8f14e45fceea467fa0f1d2c3b4a59687",
        "webhook-timestamp": "1772359200",
        "webhook-signature": "v1,ErrcVPtgHaQvpZsIQUfTtw4JoPjKrB9l9O8IRR3xzsU=",
    }


@pytest.mark.parametrize("change", ["webhook-id", "webhook-timestamp", "body", "secret"])
def test_whatever_is_changed_is_seen(change: str):
    secret = signing.new_secret()
    now = datetime.now(UTC)
    headers, body = signing.headers([secret], MESSAGE, now, BODY), BODY
    if change == "body":
        body += b" "
    elif change == "secret":
        secret = signing.new_secret()
    else:
        others = signing.headers([secret], UUID(int=1), now - timedelta(seconds=9), BODY)
        headers[change] = others[change]
    with pytest.raises(WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body, headers)


def test_two_secrets_sign_in_their_order():
    new, old = signing.new_secret(), signing.new_secret()
    now = datetime.now(UTC)
    headers = signing.headers([new, old], MESSAGE, now, BODY)
    alone = [signing.headers([secret], MESSAGE, now, BODY)["webhook-signature"] for secret in (new, old)]
    assert headers["webhook-signature"] == " ".join(alone)
    for secret in (new, old):
        standardwebhooks.Webhook(secret).verify(BODY, headers)


def test_a_secret_is_new_each_time_and_long_enough():
    first, second = signing.new_secret(), signing.new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32


def test_sealed_and_unsealed():
    secret = signing.new_secret()
    sealed = signing.seal(secret, SERVER_SECRET)
    assert signing.unseal(sealed, [SERVER_SECRET]) == secret
    assert signing.seal(secret, SERVER_SECRET) != sealed
    assert secret.encode() not in sealed
    assert base64.b64decode(secret.removeprefix("whsec_")) not in sealed


def test_nobody_else_can_unseal():
    sealed = signing.seal(signing.new_secret(), SERVER_SECRET)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for what, server_secret in ((sealed, SERVER_SECRET + b"!"), (changed, SERVER_SECRET)):
        with pytest.raises(signing.UnreadableSecretError):
            signing.unseal(what, [server_secret])
