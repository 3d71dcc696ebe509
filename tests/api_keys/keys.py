"""API keys for tests, written straight into the database."""

import hashlib
import itertools
from datetime import UTC, datetime
from typing import Any

from tests.factories import World

_numbers = itertools.count(1)


async def make_key(world: World, user_id: int, *scopes: str, **columns: Any) -> dict[str, str]:
    """The header of a key with these scopes, used a moment ago unless the test says otherwise."""
    prefix, secret = f"k{next(_numbers):011}", f"{next(_numbers):0>43}"
    values = {"name": "Test", "last_used_at": datetime.now(UTC), **columns}
    names, marks = ", ".join(values), ", ".join(f"${place}" for place in range(5, 5 + len(values)))
    await world.owner.execute(
        f"INSERT INTO api_keys (user_id, prefix, secret_hash, scopes, {names}) VALUES ($1, $2, $3, $4, {marks})",
        *(user_id, prefix, hashlib.sha256(secret.encode()).digest(), list(scopes), *values.values()),
    )
    return {"X-API-Key": f"hs_{prefix}_{secret}"}
