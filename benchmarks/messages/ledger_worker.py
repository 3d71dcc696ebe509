"""The service's worker on the ledger, without a gateway, for `queues.py`: python ledger_worker.py <URL>."""

import asyncio
import signal
import sys

from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.notifications.models import Channel
from health_services.notifications.sender import Sender
from health_services.worker import Lane, Worker

CONNECTIONS = 4
CONCURRENCY = 8


class _NoCarrier:
    async def carry(self, row: AnyRow) -> None:
        """Nothing."""


async def main(url: str) -> None:
    """Do nothing for every message, until a signal."""
    timeouts = {"statement_timeout_ms": 30_000}
    database = Database.connect(url, role=None, pool_size=CONNECTIONS, pool_timeout=30, timeouts=timeouts)
    lane = Lane("email", Sender(database, Channel.EMAIL, _NoCarrier()), CONCURRENCY)
    worker = Worker([lane], poll_seconds=0.1)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await worker.run()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
