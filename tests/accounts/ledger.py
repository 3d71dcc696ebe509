"""What was written to somebody about his account, opened as the worker opens it."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
from fastapi import FastAPI

from health_services.notifications.enclosures import ENCLOSED, opened
from tests.factories import World
from tests.notifications.ledger import vault_of_app

# Who waits for this connection, and who waits for those.
_WAITING = """WITH RECURSIVE behind (pid) AS (
        SELECT pg_backend_pid()
        UNION SELECT l.pid FROM pg_locks l JOIN behind b ON b.pid = ANY (pg_blocking_pids(l.pid)) WHERE NOT l.granted)
    SELECT count(*) - 1 FROM behind"""


async def written(owner: asyncpg.Connection, app: FastAPI, user_id: int) -> list[dict[str, Any]]:
    """`kind`, `about`, and what was enclosed, of each message to this person, by id."""
    rows = await owner.fetch("SELECT kind, data FROM notifications WHERE user_id = $1 ORDER BY id", user_id)
    found = []
    for row in rows:
        data = orjson.loads(row["data"])
        told = {"kind": row["kind"], **data, **opened(vault_of_app(app), user_id, data)}
        found.append({name: value for name, value in told.items() if name != ENCLOSED})
    return found


async def last_token(owner: asyncpg.Connection, app: FastAPI, user_id: int) -> str:
    """The token of the last mail to this person that holds one."""
    tokens = [told["token"] for told in await written(owner, app, user_id) if "token" in told]
    return str(tokens[-1])


async def stale(world: World, user_id: int, role: str) -> dict[str, str]:
    """A session whose owner proved eleven minutes ago who he is."""
    return await world.sign_in(user_id, role, authenticated_at=datetime.now(UTC) - timedelta(minutes=11))


async def together(owner: asyncpg.Connection, gate: str, *requests: Awaitable[Any]) -> list[Any]:
    """The answers to requests that all wait for a lock, which the statement `gate` takes, and then go on at once."""
    async with owner.transaction():
        await owner.execute(gate)
        running = [asyncio.ensure_future(request) for request in requests]
        async with asyncio.timeout(30):
            while await owner.fetchval(_WAITING) < len(running):
                await asyncio.sleep(0.01)
    return list(await asyncio.gather(*running))
