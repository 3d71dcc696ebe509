"""One key, many senders: one effect, one answer."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from tests.factories import Person, World
from tests.races.callers import Answer, Call, all_at_once, tally
from tests.races.guards import window
from tests.races.test_bookings import BOOKED, book

SENDERS = 50
IN_PROGRESS, REUSED = (409, "REQUEST_IN_PROGRESS"), (422, "IDEMPOTENCY_KEY_REUSED")
MADE = BOOKED


def open_clinic(admin: Person, key: str, name: str = "At the Harbour") -> Call:
    return Call("POST", "/clinics", admin.headers | {"Idempotency-Key": key}, {"name": name})


def is_first(answer: Answer) -> bool:
    return answer.kind == MADE and "idempotent-replayed" not in answer.headers


def the_one_answer(answers: list[Answer]) -> Answer:
    """That of the first; all others either had the same or were told to wait."""
    assert set(tally(answers)) <= {MADE, IN_PROGRESS}
    (first,) = [answer for answer in answers if is_first(answer)]
    assert all(answer.body == first.body for answer in answers if answer.kind == MADE)
    return first


@asynccontextmanager
async def forgotten_keys(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Every key is stored under another one, so that nobody finds it again."""
    await owner.execute(
        """CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN NEW.key_hash := sha256(gen_random_uuid()::text::bytea); RETURN NEW; END $$;
           CREATE TRIGGER forget BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION forget()"""
    )
    try:
        yield
    finally:
        await owner.execute("DROP FUNCTION forget CASCADE")


@asynccontextmanager
async def slow_look(owner: asyncpg.Connection, user_id: int, key: str) -> AsyncIterator[None]:
    """Whoever looks for a key's answer pauses for a while that differs, with the snapshot that he began with.

    A lock that is taken by the same statement comes after the pause, when that snapshot may be too old. The pause is
    over the key's answer of the day before yesterday, which is not given again.
    """
    await owner.execute(
        """INSERT INTO idempotency_keys (user_id, key_hash, request_hash, status, answer, created_at)
           VALUES ($1, sha256($2::text::bytea), '', 201, '', now() - interval '2 days')""",
        user_id,
        key,
    )
    await owner.execute(
        """CREATE FUNCTION pause() RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS
           $$ BEGIN
               IF current_query() NOT LIKE 'INSERT%' THEN PERFORM pg_sleep(random()); END IF;
               RETURN true;
           END $$;
           ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
           CREATE POLICY pause ON idempotency_keys USING (pause()) WITH CHECK (true)"""
    )
    try:
        yield
    finally:
        await owner.execute(
            """DROP POLICY pause ON idempotency_keys;
               ALTER TABLE idempotency_keys DISABLE ROW LEVEL SECURITY;
               DROP FUNCTION pause"""
        )


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_one_key_makes_one_thing(ports: list[int], owner: asyncpg.Connection, world: World, is_guarded: bool):
    async with AsyncExitStack() as stack:
        if not is_guarded:
            await stack.enter_async_context(forgotten_keys(owner))
        admin = await world.admin()
        answers = await all_at_once(ports, [open_clinic(admin, "harbour")] * SENDERS)
        again = await all_at_once(ports, [open_clinic(admin, "harbour")] * SENDERS)
        made = await owner.fetchval("SELECT count(*) FROM clinics")

        if not is_guarded:
            assert made > 1
            return
        first = the_one_answer(answers)
        assert [(answer.kind, answer.body) for answer in again] == [(MADE, first.body)] * SENDERS
        assert not any(is_first(answer) for answer in again)
        assert made == 1


async def test_a_key_under_way_is_refused_at_once(ports: list[int], owner: asyncpg.Connection, world: World):
    """None of the others waits for the first, which pauses before it ends: all but one are refused."""
    async with window(owner, "BEFORE INSERT ON clinics FOR EACH ROW", 2):
        admin = await world.admin()
        answers = await all_at_once(ports, [open_clinic(admin, "slow")] * SENDERS)
    assert tally(answers) == {MADE: 1, IN_PROGRESS: SENDERS - 1}


async def test_a_booking_that_is_sent_many_times_is_one(ports: list[int], owner: asyncpg.Connection, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, capacity=SENDERS)
    call = book(patient, doctor, slot, **{"Idempotency-Key": "once"})
    first = the_one_answer(await all_at_once(ports, [call] * SENDERS))
    (again,) = await all_at_once(ports, [call])
    assert (again.kind, again.body) == (BOOKED, first.body)
    assert await owner.fetch("SELECT id FROM appointments") == [(first.body["id"],)]


async def test_a_key_that_ends_while_it_is_looked_for_answers_as_before(
    ports: list[int], owner: asyncpg.Connection, world: World
):
    """Whoever looks before the first one's commit and gets the lock after it is not told of a double booking."""
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, capacity=SENDERS)
    call = book(patient, doctor, slot, **{"Idempotency-Key": "once"})
    async with slow_look(owner, patient.user_id, "once"):
        answers = await all_at_once(ports, [call] * SENDERS)
    the_one_answer(answers)
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 1


async def test_a_key_belongs_to_its_caller_and_its_request(ports: list[int], owner: asyncpg.Connection, world: World):
    one, other = await world.admin(), await world.admin()
    calls = [open_clinic(one, "k"), open_clinic(other, "k")] * (SENDERS // 2)
    answers = await all_at_once(ports, calls)
    first = the_one_answer(answers[::2])
    assert first.body["id"] != the_one_answer(answers[1::2]).body["id"]

    others = [open_clinic(one, "k", f"Clinic {n}") for n in range(SENDERS)]
    assert tally(await all_at_once(ports, others)) == {REUSED: SENDERS}
    elsewhere = Call("POST", "/patients", one.headers | {"Idempotency-Key": "k"}, {"name": "At the Harbour"})
    assert tally(await all_at_once(ports, [elsewhere])) == {REUSED: 1}
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 2
