"""500 people, each on a connection of his own, ask at the same instant for the one place of a slot.

wrk cannot send each connection's request once and at once, so a small client does, on the same two or more cores: what
it needs itself is in the times, which are from the first request's sending to each answer's first line.
"""

import asyncio
import statistics
import time
from collections import Counter
from urllib.parse import urlsplit

import checks
from figures import Goal, Row
from region import PATIENTS, Person
from stand import API, Options, Served, Stand

PROCESSES = 4
EXPECTED = {"201": 1, "409": PATIENTS - 1}


def one_slot(stand: Stand, options: Options) -> list[Row]:
    """Rounds of it, each on another slot; the times are medians of the rounds."""
    with stand.serving(PROCESSES) as served:
        rounds = [asyncio.run(_rush(served)) for _ in range(options.rounds + 1)][1:]  # the first one warms up
        faults = asyncio.run(checks.faults(served.service.owner_url))
    statuses = [Counter(status for status, _ in answers) for answers in rounds]
    faults += [f"not 1 × 201 and the others 409: {dict(found)}" for found in statuses if found != EXPECTED]
    cuts = [statistics.quantiles((taken for _, taken in answers), n=100) for answers in rounds]
    p50, p95, p99 = (statistics.median(cut[place] for cut in cuts) for place in (49, 94, 98))
    rate = statistics.median(len(answers) * 1000 / max(taken for _, taken in answers) for answers in rounds)
    goals = (Goal("p99", most=1000),)
    name = f"book one slot, {PATIENTS} people at once"
    return [
        Row(name, rate, goals=goals, p50=p50, p95=p95, p99=p99, statuses=dict(sum(statuses, Counter())), faults=faults)
    ]


async def _rush(served: Served) -> list[tuple[str, float]]:
    """Status and milliseconds of each."""
    address = urlsplit(served.api)
    assert address.hostname
    assert address.port
    slot, region = served.stand.bookings.take_slot(), served.stand.region
    tokens = region.tokens.read_text().splitlines()
    doctor = region.doctor_of(slot)
    place = f'"doctor_id": {doctor}, "clinic_id": {region.clinic_of(doctor)}, "slot_id": {slot}'
    connections = [await asyncio.open_connection(address.hostname, address.port) for _ in region.patients]
    began = time.perf_counter()

    async def ask(person: Person, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, float]:
        writer.write(_request(f'{{"patient_id": {person.id}, {place}}}', tokens[person.token - 1], f"rush-{slot}"))
        answered = (await reader.readline()).decode().split(" ")
        taken = (time.perf_counter() - began) * 1000
        writer.close()
        return answered[1] if len(answered) > 1 else "no answer", taken

    return await asyncio.gather(
        *(ask(person, *connection) for person, connection in zip(region.patients, connections, strict=True))
    )


def _request(body: str, token: str, key: str) -> bytes:
    head = (
        f"POST {API}/appointments/book HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()
