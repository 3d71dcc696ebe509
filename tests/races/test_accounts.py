"""Two hundred people, one e-mail address."""

from contextlib import AsyncExitStack

import asyncpg
import pytest

from tests.races.callers import Call, all_at_once, tally
from tests.races.guards import broken, without_index
from tests.races.test_bookings import CALLERS


def register(number: int) -> Call:
    email = "ada.lovelace@example.org"
    as_written = [email, email.upper(), email.title()][number % 3]
    body = {"name": f"Ada {number}", "email": as_written, "password": f"engine no {number} of many"}
    return Call("POST", "/auth/register", {}, body)


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_an_address_registers_once(ports: list[int], owner: asyncpg.Connection, is_guarded: bool):
    async with AsyncExitStack() as stack:
        if not is_guarded:
            await stack.enter_async_context(without_index(owner, "ix_users_email"))
        callers = CALLERS if is_guarded else 40  # a password costs, and few are enough to be seen
        answers = tally(await all_at_once(ports, [register(n) for n in range(callers)]))
        if not is_guarded:
            assert "an e-mail address belongs to one account" in await broken(owner)
            assert answers[200, None] > 1
            return
        assert answers == {(200, None): 1, (409, "EMAIL_ALREADY_REGISTERED"): CALLERS - 1}
        assert await owner.fetch("SELECT email FROM users") == [("ada.lovelace@example.org",)]
        assert await owner.fetchval("SELECT count(*) FROM patients") == 1
