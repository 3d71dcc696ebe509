"""What the rest of the service is told: when it is too much, for how long, and how much is left."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_services.errors import RateLimitedException
from health_services.limits.limiter import Limiter
from health_services.limits.shared_file import SharedFile
from health_services.limits.window import Window
from health_services.written_limits import DEFAULTS, Standing, limits_of
from tests.limits.clocks import SECRET, Clock, limiter_on

LOGIN = '{"login": "3/minute"}'


async def passes(limiter: Limiter, name: str, *key: str, cost: int = 1) -> bool:
    """Whether it was counted."""
    try:
        await limiter.hit(name, *key, cost=cost)
    except RateLimitedException:
        return False
    return True


async def test_it_refuses_what_is_too_much_and_says_until_when(tmp_path: Path):
    clock = Clock(6000)
    limiter = limiter_on(tmp_path / "counts", LOGIN, clock)
    for left in (2, 1, 0):
        await limiter.test("login", "ada")
        standing = await limiter.hit("login", "ada")
        assert standing is not None
        assert (standing.quota, standing.window, standing.remaining) == (3, 60, left)
    for refuse in (limiter.hit, limiter.test):
        with pytest.raises(RateLimitedException) as refused:
            await refuse("login", "ada")
        # this window ends in 60 s; a third of it later, two of the three still count
        assert refused.value.retry_after == 61
        assert refused.value.standing == Standing("login", quota=3, window=60, remaining=0, reset=61)
    assert await passes(limiter, "login", "grace"), "another key has a count of its own"
    assert await passes(limiter, "login_address", "ada"), "another limit too"
    clock.now += 60
    assert not await passes(limiter, "login", "ada")
    clock.now += 1
    assert await passes(limiter, "login", "ada")
    await limiter.close()


async def test_a_cost_counts_as_often(tmp_path: Path):
    limiter = limiter_on(tmp_path / "counts", LOGIN, Clock(6000))
    assert not await passes(limiter, "login", "ada", cost=4)
    assert await passes(limiter, "login", "ada", cost=2)
    assert not await passes(limiter, "login", "ada", cost=2)
    assert await passes(limiter, "login", "ada")
    await limiter.close()


@given(previous=st.integers(0, 9), current=st.integers(0, 9), left=st.floats(0.001, 10), most=st.integers(0, 8))
@settings(max_examples=500)
def test_the_wait_is_as_long_as_needed_and_no_longer(previous: int, current: int, left: float, most: int):
    wait = Window(previous, current, left, 10).seconds_until(most)

    def counted_after(seconds: float) -> int:
        if seconds < left:
            return Window(previous, current, left - seconds, 10).count
        return Window(current, 0, left + 10 - seconds, 10).count

    assert counted_after(wait + 0.001) <= most
    assert wait == 0 or counted_after(wait - 0.001) > most


async def test_keys_are_neither_kept_nor_guessed(tmp_path: Path):
    file = tmp_path / "counts"
    limiter = limiter_on(file, LOGIN, Clock())
    for key in (("ada@example.org", "203.0.113.7"), ("\ud800",)):
        assert [await passes(limiter, "login", *key) for _ in range(4)] == [True, True, True, False]
    assert await passes(limiter, "login", "ada@example.or", "g203.0.113.7"), "parts are told apart"
    table = file.read_bytes()
    assert b"ada" not in table
    assert b"203.0.113.7" not in table
    other = limiter_on(file, LOGIN, Clock(), secret=b"another secret, which hashes otherwise")
    assert await passes(other, "login", "ada@example.org", "203.0.113.7"), "without the secret nobody finds the count"
    await limiter.close()
    await other.close()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True), ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True), ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("203.0.113.7", "203.0.113.8", False), ("a:b", "a:c", False),
    ],
)  # fmt: skip
async def test_an_ipv6_customer_is_one_caller(tmp_path: Path, one: str, other: str, is_same: bool):
    limiter = limiter_on(tmp_path / "counts", '{"login": "1/minute"}', Clock())
    assert await passes(limiter, "login", one)
    assert await passes(limiter, "login", other) is not is_same
    await limiter.close()


async def test_the_defaults_are_the_contracts(tmp_path: Path):
    limiter = limiter_on(tmp_path / "counts", "", Clock(0))
    allowed = {"login": 10, "login_address": 30, "caller": 600, "address": 1200, "register": 20, "mail_target": 3,
               "mail_address": 20, "mfa": 10, "api_key": 600, "export": 10}  # fmt: skip
    assert allowed.keys() == DEFAULTS.keys()
    for name, amount in allowed.items():
        assert await passes(limiter, name, "key", cost=amount), name
        assert not await passes(limiter, name, "key"), name
    await limiter.close()


async def test_off_counts_nothing(tmp_path: Path):
    limiter = limiter_on(tmp_path / "counts", "off", Clock())
    assert all([await passes(limiter, "login", "ada") for _ in range(50)])
    await limiter.test("login", "ada")
    await limiter.slow_down("login", "ada")
    assert await limiter.hit("login", "ada") is None
    await limiter.close()
    assert not (tmp_path / "counts").exists()


async def test_an_unknown_limit_is_a_mistake_of_ours(tmp_path: Path):
    limiter = limiter_on(tmp_path / "counts", "", Clock())
    with pytest.raises(KeyError):
        await limiter.hit("logins", "ada")
    await limiter.close()


async def test_failures_slow_down_and_never_lock_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock(9000)
    limiter = limiter_on(tmp_path / "counts", "", clock)
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", wait)
    for count in range(1, 11):
        assert await limiter.slow_down("login", "ada@example.org") == count
    assert waits == []
    for _ in range(2000):
        await limiter.slow_down("login", "ada@example.org")
    assert waits[:6] == [0.25, 0.5, 1, 2, 4, 4]
    assert max(waits) == 4
    assert len(waits) == 2000
    waits.clear()
    assert await limiter.slow_down("login", "grace@example.org") == 1
    assert waits == []
    clock.now += 2 * 900
    await limiter.slow_down("login", "ada@example.org")
    assert waits == [], "what is half an hour old is forgotten"
    await limiter.close()


async def test_an_override_holds_and_another_window_starts_anew(tmp_path: Path):
    file = tmp_path / "counts"
    for overrides, expected in (('{"login": "1/minute"}', 1), ('{"login": "2 per 5 minutes"}', 2)):
        limiter = limiter_on(file, overrides, Clock())
        assert sum([await passes(limiter, "login", "ada") for _ in range(5)]) == expected
        await limiter.close()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("on", "off"), ("OFF", "off"), ("[]", "JSON object"), ("{", "JSON object"), ("1", "JSON object"),
        ('"off"', "off"), ("[" * 100_000, "JSON object"),
        ('{"logins": "1/minute"}', "logins"), ('{"login": 5}', "login"), ('{"login": ""}', "login"),
        ('{"login": "off"}', "login"), ('{"login": "0/minute"}', "login"), ('{"login": "5/0 minutes"}', "login"),
        ('{"login": "5/minute; 9/hour"}', "login"), ('{"login": "-1/minute"}', "login"), ('{"login": null}', "login"),
        ('{"login": "5/fortnight"}', "login"), ('{"login": "9999999999/minute"}', "login"),
        ('{"login": "5/2 years"}', "login"), ('{"login": "5/minute", "mfa": "x"}', "mfa"),
    ],
)  # fmt: skip
def test_a_malformed_override_is_named(text: str, word: str):
    with pytest.raises(ValueError, match=word):
        limits_of(text)


async def test_a_limiter_that_was_not_prepared_counts_all_the_same(tmp_path: Path):
    limiter = Limiter(limits_of(LOGIN), SharedFile(tmp_path / "counts", clock=Clock()), SECRET)
    assert [await passes(limiter, "login", "ada") for _ in range(4)] == [True, True, True, False]
    await limiter.close()
