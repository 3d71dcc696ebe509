"""Lists, page by page along the Link header, while rows come and go."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from health_services.pagination import read_cursor, write_cursor
from tests.api.answers import next_page, refusal
from tests.factories import World, soon
from tests.lists import BY_ID, NEWEST_FIRST


@pytest.mark.parametrize("name", [*BY_ID, *NEWEST_FIRST])
async def test_each_row_is_on_one_page(api: httpx.AsyncClient, world: World, name: str):
    """Before each page, a row of the page before goes, and one that is still to come; and there is a new one."""
    some = await (BY_ID | NEWEST_FIRST)[name](world, await world.admin())
    rows = [await some.make() for _ in range(9)]
    if name in NEWEST_FIRST:
        rows.reverse()
    joint = "&" if "?" in some.path else "?"
    address: str | None = f"{some.path}{joint}limit=2"
    read: list[int] = []
    while address is not None:
        page, address = await some.read(api, address)
        assert len(page) <= 2
        read += page
        if address is None:
            break
        assert "skip" not in address
        assert address.startswith(f"{some.path}{joint}cursor="), "what the list is narrowed by stays"
        ahead = [row for row in rows if row not in read]
        for row in (*page[:1], *ahead[1:2]):
            await world.owner.execute(some.take_out, row)
            rows = [other for other in rows if other != row or row in read]
        new = await some.make() if len(rows) < 12 else None
        if new is not None and name in BY_ID:
            rows.append(new)
    assert [row for row in read if row in rows] == rows
    assert len(read) == len(set(read))
    assert len(rows) > 5


MINUTES = st.integers(0, 5)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(MINUTES, max_size=8),
    st.integers(1, 3),
    st.lists(st.tuples(st.lists(MINUTES, max_size=2), st.lists(st.integers(0, 9), max_size=2)), max_size=8),
)
@example([0] * 8, 2, [([0, 5], [0]), ([0], [9]), ([], [])])
async def test_a_page_of_slots_is_what_comes_after_the_one_before(
    api: httpx.AsyncClient, world: World, first: list[int], limit: int, changes: list[tuple[list[int], list[int]]]
):
    """Whatever comes and goes before and behind: slots of several doctors, many at the same instant."""
    start, clinic = soon(), await world.clinic()
    there: dict[int, datetime] = {}

    async def offer(minutes: list[int]) -> None:
        for number in minutes:
            at = start + timedelta(minutes=number)
            there[await world.slot(await world.doctor(clinic), at)] = at

    await offer(first)
    last: tuple[Any, ...] = (datetime.min.replace(tzinfo=UTC), 0)
    address: str | None = f"/slots?clinic_id={clinic}&limit={limit}"
    for new, gone in itertools.chain(changes, itertools.repeat(([], []))):
        ahead = sorted((at, slot) for slot, at in there.items() if (at, slot) > last)
        answer = await api.get(address or "")
        assert [slot["id"] for slot in answer.json()] == [slot for _, slot in ahead[:limit]]
        found = next_page(answer)
        assert (found is not None) == (len(ahead) > limit)
        if found is None:
            break
        last, address = ahead[limit - 1], found.removeprefix("/api/v1")
        await offer(new)
        for number in gone:
            slot = sorted(there)[number % len(there)] if there else 0
            there.pop(slot, None)
            await world.owner.execute("UPDATE appointment_slots SET is_active = false WHERE id = $1", slot)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=1), st.integers(1, 2**63 - 1))
def test_a_cursor_is_read_as_it_was_written(instants: list[datetime], row_id: int):
    cursor = write_cursor((*instants, row_id))
    assert read_cursor(cursor, len(instants) + 1) == (*instants, row_id)
    assert len(cursor) == 11 * (len(instants) + 1)
    with pytest.raises(ValueError, match="is not a cursor of this list"):
        read_cursor(cursor, 2 - len(instants))


@given(st.text(max_size=40) | st.binary(max_size=24).map(lambda b: b.hex()), st.integers(1, 2))
def test_nothing_else_is_a_cursor(text: str, parts: int):
    try:
        position = read_cursor(text, parts)
    except ValueError as error:
        assert str(error) == "is not a cursor of this list"
    else:
        assert write_cursor(position) == text


async def test_a_cursor_of_another_list_is_refused(api: httpx.AsyncClient):
    by_id, by_time = write_cursor((1,)), write_cursor((soon(), 1))
    refusal(await api.get(f"/slots?cursor={by_id}"), "VALIDATION_ERROR", "cursor")
    refusal(await api.get(f"/clinics?cursor={by_time}"), "VALIDATION_ERROR", "cursor")
    for skip in ("skip=0&", "skip=3&"):
        refusal(await api.get(f"/slots?{skip}cursor={by_time}"), "VALIDATION_ERROR", "skip")
    for edge in ((datetime.max.replace(tzinfo=UTC), 2**63 - 1), (datetime.min.replace(tzinfo=UTC), 1)):
        assert (await api.get(f"/slots?cursor={write_cursor(edge)}")).json() == []
    assert (await api.get(f"/clinics?cursor={write_cursor((2**63 - 1,))}")).json() == []


async def test_skip_is_still_taken(api: httpx.AsyncClient, world: World):
    made = [await world.clinic() for _ in range(5)]
    first = await api.get("/clinics?skip=1&limit=2")
    assert [row["id"] for row in first.json()] == made[1:3]
    second = await api.get((next_page(first) or "").removeprefix("/api/v1"))
    assert [row["id"] for row in second.json()] == made[3:]
    assert next_page(second) is None


def test_every_list_takes_a_cursor(app: FastAPI):
    lists = [
        {parameter["name"] for parameter in operation["parameters"]}
        for methods in app.openapi()["paths"].values()
        for operation in methods.values()
        if "limit" in {parameter["name"] for parameter in operation.get("parameters", [])}
    ]
    assert all(names >= {"skip", "limit", "cursor"} for names in lists)
    # the doctors, their appointments and the patient's are found in more than one place
    assert len(lists) == len(BY_ID | NEWEST_FIRST) + 3
