"""The queues in figures, for /readyz and for Prometheus."""

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.monitoring.repository import QueueRepository

_FIGURES = {
    "due": ("health_messages_due", "Messages whose time has come and that are not out yet"),
    "queued": ("health_messages_queued", "Messages that wait, for their time or for the worker; counted up to 10,000"),
    "failed": ("health_messages_failed", "Messages that were given up and are held for somebody to look at"),
    "oldest_seconds": ("health_messages_oldest_due_seconds", "How long the oldest message is due; 0 if none is"),
}


async def summary(session: AsyncSession) -> dict[str, Any]:
    """All queues together: `due`, `failed`, and `oldest_due_seconds`."""
    queues = await QueueRepository(session).queues()
    return {
        "due": sum(int(queue.due or 0) for queue in queues),
        "failed": sum(queue.failed for queue in queues),
        "oldest_due_seconds": round(max(_lateness(queue) for queue in queues), 1),
    }


async def exposition(session: AsyncSession) -> bytes:
    """The queues in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Queues(await QueueRepository(session).queues()))
    text: bytes = generate_latest(registry)
    return text


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
