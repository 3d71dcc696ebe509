"""A PgQueuer worker for `queues.py`, run by a Python that has PgQueuer: python pgqueuer_worker.py <URL> <batch size>."""

import asyncio
import signal
import sys

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job

CONNECTIONS = 4


async def main(url: str, batch_size: int) -> None:
    """Do nothing for every job, until a signal."""
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queue = PgQueuer(AsyncpgPoolDriver(pool))

        @queue.entrypoint("send")
        async def send(_: Job) -> None:
            """Nothing."""

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.shutdown.set)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await queue.run(batch_size=batch_size)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
