"""What the requests of docs/access.md about signing in are about."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tests.access.cast import Cast, set_password
from tests.access.tokens import session_of
from tests.factories import Person, World


async def make_sign_ins(world: World, cast: Cast, people: Sequence[Person], password_hash: str) -> dict[str, Any]:
    """Everybody has this password; the patient has a refresh token, and has been mailed links."""
    for person in people:
        await set_password(world, person, password_hash)
    kinds = ("refresh_token", "password_reset", "email_verification")
    tokens = {kind: f"{kind} of {cast.patient.user_id}" for kind in kinds}
    await make_tokens(world, cast.patient, tokens)
    return {"session_id": session_of(cast.patient), **tokens}


async def make_tokens(world: World, person: Person, tokens: Mapping[str, str]) -> None:
    """Give somebody a `refresh_token`, and others that were mailed to him, by their purpose."""
    for kind, token in tokens.items():
        token_hash = hashlib.sha256(token.encode()).digest()
        if kind == "refresh_token":
            await world.owner.execute(
                """INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
                   VALUES ($1, $2, $3, now() + interval '1 day')""",
                *(token_hash, session_of(person), person.user_id),
            )
        else:
            await world.owner.execute(
                """INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at)
                   VALUES ($1, $2, $3, now() + interval '1 day')""",
                *(token_hash, kind, person.user_id),
            )
