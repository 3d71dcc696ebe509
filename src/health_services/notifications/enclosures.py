"""What a message carries that must not stand in the ledger in the clear, and only for as long as it is on its way.

That is the token of a link, which lets its reader in, and an address to send to that is no longer the account's. Both
are sealed for the person and put into the row's `data`; whatever ends the message takes them out again.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.sealing import Vault, vault_of

# The member of `data` that the statements of repository.py remove.
ENCLOSED = "enclosed"


def enclosed(session: AsyncSession, user_id: int, **contents: str) -> dict[str, str]:
    """What goes into the `data` of a message to this person: `token`, `to`."""
    text = orjson.dumps(contents).decode()
    return {ENCLOSED: vault_of(session).seal("notifications", "data", user_id, text)}


def opened(vault: Vault, user_id: int, data: Mapping[str, Any]) -> dict[str, str]:
    """What was enclosed, nothing where nothing was; raises UnavailableException where its key is missing."""
    if ENCLOSED not in data:
        return {}
    contents: dict[str, str] = orjson.loads(vault.open("notifications", "data", user_id, data[ENCLOSED]))
    return contents
