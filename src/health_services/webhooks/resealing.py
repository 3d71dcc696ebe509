"""Bringing the secrets of endpoints under the server's present secret, after that was changed."""

import contextlib
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.webhooks import signing

_ALL = text("SELECT id, secret, previous_secret FROM webhooks ORDER BY id")
# Whoever gave the endpoint a new secret meanwhile keeps it.
_REPLACE = text(
    """UPDATE webhooks SET secret = CASE WHEN secret = :old THEN :new ELSE secret END,
              previous_secret = CASE WHEN previous_secret = :old THEN :new ELSE previous_secret END
       WHERE id = :id AND :old IN (secret, previous_secret) RETURNING id"""
)


async def reseal_secrets(session: AsyncSession, server_secrets: Sequence[bytes]) -> int:
    """Seal with the first of the server's secrets what was sealed with another; how many there were.

    What none of them opens is left as it is: its endpoint needs a new secret.
    """
    resealed = 0
    for webhook in (await session.execute(_ALL)).all():
        for sealed in (webhook.secret, webhook.previous_secret):
            if sealed is None or signing.is_sealed_with(sealed, server_secrets[0]):
                continue
            with contextlib.suppress(signing.UnreadableSecretError):
                new = signing.seal(signing.unseal(sealed, server_secrets[1:]), server_secrets[0])
                replaced = await session.scalar(_REPLACE, {"id": webhook.id, "old": sealed, "new": new})
                resealed += replaced is not None
    return resealed
