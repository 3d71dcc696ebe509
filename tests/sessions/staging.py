"""What the requests of docs/access.md about signing in are about."""

import hashlib
from collections.abc import Sequence
from typing import Any

from tests.access.cast import Cast, set_password
from tests.access.tokens import session_of
from tests.factories import Person, World


async def make_sign_ins(world: World, cast: Cast, people: Sequence[Person], password_hash: str) -> dict[str, Any]:
    """Everybody has this password; the patient has a refresh token, and has been mailed links."""
    for person in people:
        await set_password(world, person, password_hash)
    user_id, session_id = cast.patient.user_id, session_of(cast.patient)
    staged = {name: f"{name} of {user_id}" for name in ("refresh_token", "password_reset", "email_verification")}
    await world.owner.execute(
        """INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
           VALUES ($1, $2, $3, now() + interval '1 day')""",
        *(_hash(staged["refresh_token"]), session_id, user_id),
    )
    for purpose in ("password_reset", "email_verification"):
        await world.owner.execute(
            """INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at)
               VALUES ($1, $2, $3, now() + interval '1 day')""",
            *(_hash(staged[purpose]), purpose, user_id),
        )
    return {"session_id": session_id, **staged}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
