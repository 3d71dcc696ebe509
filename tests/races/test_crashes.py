"""kill -9 in a storm of bookings: what was acknowledged is there, and the key of the rest tells which it was."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest

from health_services.access.tokens import Tokens
from health_services.database.embedded import Cluster, running
from health_services.database.keeper import pid_in
from tests.conftest import TABLES
from tests.database.servers import eventually, is_alive
from tests.factories import World
from tests.races.guards import broken
from tests.races.servers import SECRET, Server
from tests.races.storm import Storm, count_twice, ended, lost

WORKERS = 2
# What a client sees of a server that dies while it waits for the answer, or is not there.
BROKEN = {"ReadError", "WriteError", "RemoteProtocolError", "ConnectError"}


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A place that the database's own user can reach."""
    made = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    made.chmod(0o755)
    yield made / "data"
    shutil.rmtree(made)


class Installed:
    """A server with its embedded database, and an owner's eye on it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.server = self._start()
        self.cluster: Cluster
        self.owner: asyncpg.Connection

    def _start(self) -> Server:
        return Server({"HEALTH_DATA_DIR": str(self.data_dir)}, workers=WORKERS)

    async def ready(self) -> None:
        await self.server.ready()
        with running(self.data_dir) as self.cluster:
            pass
        self.owner = await asyncpg.connect(self.cluster.owner_url)

    async def start_again(self) -> None:
        self.server = self._start()
        await self.ready()

    def kill_database(self, *, keeper: bool) -> None:
        """The postmaster, every backend, and who would start them again."""
        postmaster = psutil.Process(pid_in(self.cluster.pgdata))
        doomed = [postmaster, *postmaster.children(recursive=True)]
        if keeper and (parent := postmaster.parent()):
            doomed.insert(0, parent)
        for process in doomed:
            with suppress(psutil.NoSuchProcess):  # a backend ends by itself when its postmaster is gone
                process.kill()
        assert eventually(lambda: not any(is_alive(process.pid) for process in doomed))

    async def storm(self, seed: int) -> Storm:
        with suppress(asyncpg.DeadlockDetectedError):  # with a request of the last storm, which has ended by then
            await self.owner.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
        await self.owner.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
        return await Storm.brewed(World(self.owner, Tokens((SECRET.encode(),), timedelta(hours=1))), seed)

    async def account(self, storm: Storm) -> None:
        """Nothing acknowledged is lost, nothing is there twice, whatever is sent again succeeds, all counters agree."""
        assert await lost(self.owner, storm) == 0
        assert await broken(self.owner) == set()
        sent = len(storm.told) + len(storm.unsure)
        await storm.settle(self.server.port)
        assert len(storm.told) == sent == await self.owner.fetchval("SELECT count(*) FROM appointments")
        assert await count_twice(self.owner) == 0
        assert await broken(self.owner) == set()


@pytest.fixture(scope="module")
async def installed(data_dir: Path) -> AsyncIterator[Installed]:
    place = Installed(data_dir)
    try:
        await place.ready()
        yield place
        await place.owner.close()
    finally:
        place.server.stop()


@asynccontextmanager
async def raging(place: Installed, storm: Storm) -> AsyncIterator[None]:
    """The storm is on, and at its seeded moment the block runs; then it ends."""
    task = asyncio.create_task(storm.rage(place.server.port))
    await storm.told_of(storm.moment)
    try:
        yield
    finally:
        await ended(task, storm)


@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_is_killed(installed: Installed, seed: int):
    storm = await installed.storm(seed)
    async with raging(installed, storm):
        if seed % 2:
            installed.server.kill()
            installed.kill_database(keeper=True)
        else:
            installed.kill_database(keeper=True)
            installed.server.kill()
    await installed.start_again()
    assert storm.unsure
    await installed.account(storm)


async def test_the_server_alone_is_killed(installed: Installed):
    storm = await installed.storm(3)
    async with raging(installed, storm):
        installed.server.kill()
    await installed.start_again()
    assert set(storm.statuses) == {201} | BROKEN & set(storm.statuses)
    await installed.account(storm)


async def test_the_database_alone_is_killed(installed: Installed):
    """The server stays, answers 503 while there is no database, and finds the new one by itself."""
    storm = await installed.storm(4)
    workers = installed.server.workers()
    async with raging(installed, storm):
        installed.kill_database(keeper=False)
        before = len(storm.told)
        await storm.told_of(before + 50)
    await installed.ready()
    assert set(storm.statuses) == {201, 503}
    assert installed.server.workers() == workers
    await installed.account(storm)


async def test_one_worker_is_killed(installed: Installed):
    """The others go on, and it is replaced."""
    storm = await installed.storm(5)
    first, second = installed.server.workers()
    async with raging(installed, storm):
        psutil.Process(first).kill()
        await storm.told_of(len(storm.told) + 50)
        async with asyncio.timeout(60):
            while len(workers := set(installed.server.workers()) - {first}) < WORKERS:
                await asyncio.sleep(0.05)
    assert second in workers
    assert set(storm.statuses) <= {201} | BROKEN
    await installed.account(storm)


# Connections of the application ask for synchronous_commit themselves, so only a transaction can be talked out of it.
# The worker's too, whose commits would take everybody's to the disk.
CARELESS = """
CREATE FUNCTION careless() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('synchronous_commit', 'off', true); RETURN NEW; END $$;
CREATE TRIGGER careless BEFORE INSERT ON appointments FOR EACH ROW EXECUTE FUNCTION careless();
CREATE TRIGGER careless BEFORE UPDATE ON notifications FOR EACH ROW EXECUTE FUNCTION careless()"""


async def _as_admin(place: Installed, *statements: str) -> None:
    admin = await asyncpg.connect(place.cluster.admin_url)
    for statement in statements:
        await admin.execute(statement)
    await admin.close()


async def test_this_would_see_a_loss(installed: Installed):
    """With commits that do not wait for the disk, the same crash loses bookings, and the same account tells."""
    storm = await installed.storm(6)
    await installed.owner.execute(CARELESS)
    await _as_admin(
        installed,
        "ALTER SYSTEM SET wal_writer_delay = '10s'",
        "ALTER SYSTEM SET wal_writer_flush_after = '1GB'",
        "SELECT pg_reload_conf()",
    )
    async with raging(installed, storm):
        installed.kill_database(keeper=True)
        installed.server.kill()
    await installed.start_again()
    assert await lost(installed.owner, storm) > 0
    assert await broken(installed.owner) == set()
    await installed.owner.execute("DROP FUNCTION careless() CASCADE")
    await _as_admin(installed, "ALTER SYSTEM RESET ALL")
