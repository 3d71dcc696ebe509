"""The second half of signing in: how often it may be tried, by whom, and what it never tells."""

from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI

from tests.api.answers import refusal
from tests.factories import World
from tests.limits.clocks import Clock as LimiterClock
from tests.limits.clocks import limiter_on
from tests.second_factors.conftest import Clock, Factors
from tests.second_factors.test_totp import claims, refused


async def test_a_token_works_once(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    begun = await factors.password(person)
    assert (await factors.complete(begun, clock.code(secret))).status_code == 200
    refused(await factors.complete(begun, codes[0]))
    assert (await factors.sign_in(person, codes[0])).status_code == 200


async def test_a_token_takes_five_attempts_though_each_was_rolled_back(
    factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock
):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    begun = await factors.password(person)
    for attempt in range(1, 6):
        refused(await factors.complete(begun, "000000"))
        assert await owner.fetchval("SELECT attempts FROM one_time_tokens WHERE purpose = 'mfa'") == attempt
    refused(await factors.complete(begun, clock.code(secret)))
    assert await owner.fetchval("SELECT last_step FROM totp_authenticators") < clock.now.timestamp() // 30
    assert (await factors.sign_in(person, clock.code(secret))).status_code == 200


async def test_four_attempts_leave_one(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    begun = await factors.password(person)
    for _ in range(4):
        refused(await factors.complete(begun, "000000"))
    assert (await factors.complete(begun, clock.code(secret))).status_code == 200


async def test_everything_wrong_is_answered_alike(
    factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock
):
    person, other = await world.patient(), await world.patient()
    secret, codes = await factors.totp(person)
    other_secret, _ = await factors.totp(other)
    begun = await factors.password(person)
    for wrong in ("000000", "not a code at all", "ABCD-EFGH-IJKL-MNOP", clock.code(other_secret)):
        refused(await factors.complete(begun, wrong))
    refused(await factors.complete({"mfa_token": "x" * 43}, clock.code(secret)))
    late = await factors.password(person)
    await owner.execute("UPDATE one_time_tokens SET expires_at = now() WHERE purpose = 'mfa' AND attempts = 0")
    refused(await factors.complete(late, clock.code(secret)))
    gone = await factors.password(person)
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", person.user_id)
    refused(await factors.complete(gone, clock.code(secret)))
    await owner.execute("UPDATE users SET is_active = true WHERE id = $1", person.user_id)
    refused(await factors.complete(gone, codes[0]))


async def test_a_changed_password_ends_what_was_begun_with_the_old_one(
    factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock
):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    begun = await factors.password(person)
    await owner.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", person.user_id)
    refused(await factors.complete(begun, clock.code(secret)))


async def test_tokens_of_another_kind_are_no_good(factors: Factors, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    _, codes = await factors.totp(person)
    challenge = (await factors.request_options())["challenge"]
    refused(await factors.complete({"mfa_token": challenge}, codes[0]))
    assert await owner.fetchval("SELECT count(*) FROM sessions WHERE methods <> '{pwd}'") == 0


async def test_an_account_is_tried_only_so_often_with_whichever_tokens(
    factors: Factors, world: World, app: FastAPI, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    person, other = await world.patient(), await world.patient()
    secret, _ = await factors.totp(person)
    other_secret, _ = await factors.totp(other)
    limiter = limiter_on(tmp_path / "counts", '{"mfa": "3/minute"}', LimiterClock(6000))
    monkeypatch.setitem(app.state._state, "limiter", limiter)
    for _ in range(3):
        refused(await factors.sign_in(person, "000000"))
    refusal(await factors.sign_in(person, clock.code(secret)), "RATE_LIMITED")
    assert (await factors.sign_in(other, clock.code(other_secret))).status_code == 200
    await limiter.close()


async def test_the_audit_knows_whose_second_factor_was_tried(
    factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock
):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    begun = await factors.password(person)
    refused(await factors.complete(begun, "000000"))
    answer = await factors.complete(begun, clock.code(secret))
    rows = await owner.fetch(
        "SELECT user_id, user_ids, via, outcome, status FROM audit_log WHERE action = 'login_mfa' ORDER BY id"
    )
    session = claims(answer)["sid"]
    assert [(row["user_ids"], row["outcome"], row["status"]) for row in rows] == [
        ([person.user_id], "refused", 401),
        ([person.user_id], "success", 200),
    ]
    assert (rows[1]["user_id"], rows[1]["via"]) == (person.user_id, f"session:{session}")


async def test_no_log_has_a_code_or_a_token(
    factors: Factors, world: World, clock: Clock, capfd: pytest.CaptureFixture[str]
):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    begun = await factors.password(person)
    refused(await factors.complete(begun, "000000"))
    await factors.complete(begun, clock.code(secret))
    await factors.sign_in(person, codes[0])
    out, err = capfd.readouterr()
    for text in (secret, clock.code(secret), codes[0], begun["mfa_token"], person.email):
        assert text not in out + err
