"""Webhooks and their deliveries for tests, written straight into the database, and a worker's hand to send them."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import standardwebhooks
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.outgoing.http import outgoing_session
from health_services.webhooks import signing
from health_services.webhooks.delivery import Deliveries, Job
from tests.outgoing.servers import Received

BODY = '{"type":"appointment.booked","timestamp":"2026-03-01T10:00:00Z","data":{"id":12,"place":"Zürich"}}'

_numbers = itertools.count(1)


async def nobody(session: AsyncSession, webhook: AnyRow, delivery_id: int) -> None:
    """Tells nobody; who expects silence sees the test fail."""
    raise AssertionError("announced")


async def anybody(session: AsyncSession, webhook: AnyRow, delivery_id: int) -> None:
    """Is told, for those to whom it does not matter."""


class Hooks:
    """Makes rows through the owner's connection, and looks at them."""

    def __init__(self, owner: asyncpg.Connection, app: FastAPI) -> None:
        self.owner = owner
        self._app = app

    async def webhook(self, url: str, secret: str | None = None, **values: Any) -> int:
        """A webhook's id; its secret is sealed as the application does it."""
        sealed = signing.seal(secret or signing.new_secret(), self._app.state.tokens.secret)
        columns = {"url": url, "events": ["appointment.booked"], "secret": sealed, **values}
        names, marks = ", ".join(columns), ", ".join(f"${i}" for i in range(1, len(columns) + 1))
        query = f"INSERT INTO webhooks ({names}) VALUES ({marks}) RETURNING id"
        return int(await self.owner.fetchval(query, *columns.values()))

    async def queue(self, webhook_id: int, subject: str | None = None, body: str = BODY) -> int:
        """A delivery's id, due now; of a subject of its own unless one is given."""
        query = """INSERT INTO webhook_deliveries (webhook_id, event, subject, body)
                   VALUES ($1, 'appointment.booked', $2, $3) RETURNING id"""
        subject = subject or f"appointment:{next(_numbers)}"
        return int(await self.owner.fetchval(query, webhook_id, subject, body))

    async def delivery(self, delivery_id: int) -> asyncpg.Record:
        """The row, and `wait`: how long after its last change it is due."""
        query = "SELECT *, next_attempt_at - updated_at AS wait FROM webhook_deliveries WHERE id = $1"
        return await self.owner.fetchrow(query, delivery_id)

    async def states(self, *delivery_ids: int) -> list[str]:
        """What became of each."""
        return [(await self.delivery(delivery_id))["state"] for delivery_id in delivery_ids]

    async def set(self, table: str, row_id: int, **values: str) -> None:
        """Set columns to SQL expressions."""
        changes = ", ".join(f"{name} = {value}" for name, value in values.items())
        await self.owner.execute(f"UPDATE {table} SET {changes} WHERE id = $1", row_id)

    async def make_due(self, *delivery_ids: int) -> None:
        """As if the time had come."""
        for delivery_id in delivery_ids:
            await self.set("webhook_deliveries", delivery_id, next_attempt_at="now()")

    @asynccontextmanager
    async def sender(
        self,
        *,
        allow_private: bool = True,
        timeout: float = 60,
        secret: bytes | None = None,
        announce: Callable[[AsyncSession, AnyRow, int], Awaitable[None]] = nobody,
        **options: Any,
    ) -> AsyncIterator[Deliveries]:
        """A worker's queue, which tells nobody of what it gives up unless the test says otherwise."""
        async with outgoing_session(allow_private=allow_private, timeout=timeout) as session:
            yield Deliveries(
                self._app.state.worker_database,
                session,
                (secret,) if secret else self._app.state.tokens.secrets,
                announce=announce,
                **{"concurrency": 8, "jitter": lambda: 0.5, **options},
            )


async def send_all(sender: Deliveries, limit: int = 10) -> list[Job]:
    """Take once and carry out, one after the other."""
    jobs = await sender.take(limit)
    for job in jobs:
        await sender.carry_out(job)
    return jobs


def verify(secret: str, received: Received) -> Any:
    """What the public library reads in the message; raises if it does not believe it."""
    return standardwebhooks.Webhook(secret).verify(received.body, received.headers)
