"""One count for all machines in a real Redis, and what becomes of it when Redis goes and comes."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from health_services.errors import RateLimitedException
from health_services.limits.limiter import Limiter
from health_services.limits.redis_counts import RETRY_SECONDS, RedisCounts
from health_services.limits.shared_file import SharedFile
from health_services.settings import Settings
from health_services.written_limits import limits_of
from tests.limits.clocks import SECRET, Clock
from tests.limits.test_limiter import passes

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server") or ""
pytestmark = pytest.mark.skipif(not PROGRAM, reason="there is no redis-server here (Debian: apt install redis-server)")


class Server:
    """A Redis of its own, which can go and come again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = int(found.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL)
        for _ in range(1000):
            try:
                self.client.ping()
            except RedisError:
                assert self._process.poll() is None, "it did not start"
                continue
            return
        pytest.fail("Redis does not answer")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self.client.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def machine(server: Server, directory: Path, name: str, clock: Clock, limits: str) -> Limiter:
    """A machine's limiter, with a file of its own."""
    counts = RedisCounts(server.url, SharedFile(directory / name, clock=clock), clock=clock)
    limiter = Limiter(limits_of(limits), counts, SECRET)
    limiter.prepare()
    return limiter


async def test_machines_count_together(server: Server, tmp_path: Path):
    clock = Clock()
    machines = [machine(server, tmp_path, name, clock, '{"login": "5/hour"}') for name in "ab"]
    passed = [await passes(machines[attempt % 2], "login", "ada@example.org") for attempt in range(10)]
    assert passed == [True] * 5 + [False] * 5
    with pytest.raises(RateLimitedException) as refused:
        await machines[0].hit("login", "ada@example.org")
    assert refused.value.standing.remaining == 0
    assert 0 < refused.value.standing.reset <= 3601
    fresh = await machines[1].hit("login", "grace@example.org")
    assert fresh is not None
    assert fresh.remaining == 4
    assert 0 < fresh.reset <= 3601
    keys = [key.decode() if isinstance(key, bytes) else key for key in server.client.keys("*")]
    assert len(keys) == 2
    assert keys[0].startswith("health-services:")
    assert not any("ada" in key for key in keys)
    for limiter in machines:
        await limiter.close()


async def test_without_redis_each_machine_counts_alone_until_it_is_back(server: Server, tmp_path: Path):
    with capture_logs() as logs:
        await lose_and_regain(server, tmp_path)
    assert [line["event"] for line in logs].count("limits are counted by each machine") == 2
    assert "ada" not in str(logs)


async def lose_and_regain(server: Server, tmp_path: Path) -> None:
    clock = Clock()
    one, other = (machine(server, tmp_path, name, clock, '{"login": "2/hour"}') for name in "ab")
    assert await passes(one, "login", "ada")
    server.kill()
    for limiter in (one, other):
        assert [await passes(limiter, "login", "ada") for _ in range(4)] == [True, True, False, False]
    server.start()
    assert not await passes(one, "login", "ada"), "it is not asked again at once"
    clock.now += RETRY_SECONDS
    assert [await passes(one, "login", "ada") for _ in range(3)] == [True, True, False]
    assert not await passes(other, "login", "ada")
    await one.close()
    await other.close()


async def test_a_redis_that_says_no_is_away_too(server: Server, tmp_path: Path):
    limiter = machine(server, tmp_path, "a", Clock(), '{"login": "2/hour"}')
    server.client.config_set("maxmemory", "1")
    assert [await passes(limiter, "login", "ada") for _ in range(3)] == [True, True, False]
    await limiter.close()


async def test_a_connection_that_was_closed_meanwhile_is_no_outage(server: Server, tmp_path: Path):
    limiter = machine(server, tmp_path, "a", Clock(), '{"login": "2/hour"}')
    assert await passes(limiter, "login", "ada")
    server.client.client_kill_filter(_type="normal", skipme=True)
    assert [await passes(limiter, "login", "ada") for _ in range(2)] == [True, False]
    await limiter.close()


async def test_the_setting_leads_there(server: Server, tmp_path: Path):
    settings = Settings(secret_key=SecretStr(SECRET.decode()), redis_url=SecretStr(server.url), data_dir=tmp_path)
    limiter = Limiter.of(settings)
    limiter.prepare()
    await limiter.hit("login", "ada")
    await limiter.slow_down("login", "ada")
    assert server.client.dbsize() == 2
    await limiter.close()
