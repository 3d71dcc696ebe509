"""The queues in figures, for /readyz and for Prometheus."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.errors import UnavailableException
from health_services.monitoring.repository import QueueRepository

# What asks is a machine that asks again soon; whoever holds the tables, or all connections, has more right to them.
PATIENCE_MS = 500
# With the wait for a connection, and for a network that says nothing.
LONGEST_SECONDS = 1.0

_FIGURES = {
    "due": ("health_messages_due", "Messages that a worker could take now"),
    "retrying": ("health_messages_retrying", "Due messages that were tried, or are being tried, and are not out yet"),
    "queued": ("health_messages_queued", "Messages that wait, for their time or for the worker; counted up to 10,000"),
    "failed": ("health_messages_failed", "Messages that were given up and are held for somebody to look at"),
    "oldest_seconds": (
        "health_messages_oldest_due_seconds",
        "How long the oldest message is due, tried in vain or not; 0 if none is",
    ),
}


async def summary(database: Database) -> dict[str, Any] | None:
    """All queues together: `due`, `retrying`, `failed`, and `oldest_due_seconds`; None where they cannot be had now."""
    try:
        queues = await _queues(database)
    except UnavailableException:
        return None
    return {
        "due": sum(int(queue.due or 0) for queue in queues),
        "retrying": sum(int(queue.retrying or 0) for queue in queues),
        "failed": sum(queue.failed for queue in queues),
        "oldest_due_seconds": round(max(_lateness(queue) for queue in queues), 1),
    }


async def exposition(database: Database) -> bytes:
    """The queues in Prometheus' text format; raises UnavailableException where they cannot be had now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Queues(await _queues(database)))
    text: bytes = generate_latest(registry)
    return text


async def _queues(database: Database) -> Sequence[AnyRow]:
    try:
        async with asyncio.timeout(LONGEST_SECONDS), database.writing() as session:
            return await QueueRepository(session).queues(PATIENCE_MS)
    except (DBAPIError, PoolTimeoutError, OSError):
        raise UnavailableException("The figures cannot be had now.") from None


def _lateness(queue: AnyRow) -> float:
    return max(float(queue.oldest_seconds or 0), 0.0)


class _Queues(Collector):
    """One scrape's figures."""

    def __init__(self, queues: Sequence[AnyRow]) -> None:
        self._queues = queues

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Each figure with the labels queue and channel."""
        for column, (name, text) in _FIGURES.items():
            family = GaugeMetricFamily(name, text, labels=["queue", "channel"])
            for queue in self._queues:
                value = _lateness(queue) if column == "oldest_seconds" else int(getattr(queue, column) or 0)
                family.add_metric([queue.queue, queue.channel], value)
            yield family
