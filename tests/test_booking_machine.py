"""Booking against a model: random histories, every answer predicted, every invariant asked of SQL after every step.

BOOKING_HISTORIES=2000 runs that many, other ones each time; the suite runs a few, always the same.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from health_services.api.dependencies import current_instant
from health_services.database import embedded
from tests import booking_model
from tests.booking_bench import MISTAKES, Bench, close_bench, open_bench
from tests.booking_model import LIVE, Actor, Appointment, Booking, Clinic, Doctor, Expected, Model, Slot
from tests.conftest import TABLES
from tests.factories import World
from tests.invariants import INVARIANTS

HISTORIES = int(os.environ.get("BOOKING_HISTORIES", "0"))
ZONES = ("America/New_York", "Asia/Kolkata", "UTC")
BROKEN = " UNION ALL ".join(f"SELECT $${name}$$ WHERE EXISTS ({query})" for name, query in INVARIANTS.items())
COUNTS = "SELECT id, booked_count FROM appointment_slots"

# One of however many there are at that moment.
which = st.integers(0, 11)
rarely = st.sampled_from([False, False, False, True])


@pytest.fixture
def bench(cluster: embedded.Cluster) -> Iterator[Bench]:
    with start_blocking_portal() as portal:
        opened: Bench = portal.call(open_bench, cluster, portal, "machine")
        yield opened
        portal.call(close_bench, opened)


class BookingMachine(RuleBasedStateMachine):
    """Each rule sends one request and compares the answer with the model's."""

    bench: Bench

    @initialize()
    def begin(self) -> None:
        self.bench.run(self._begin())

    async def _begin(self) -> None:
        bench = self.bench
        await bench.owner.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
        # Far enough ahead that the database's own clock sees every slot in the future.
        self.first_day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=4)
        self.model = Model(now=self.first_day - timedelta(days=2))
        bench.app.dependency_overrides[current_instant] = lambda: self.model.now
        self.kept: dict[tuple[int, str], tuple[str, Expected, bytes]] = {}
        world = World(bench.owner, bench.app.state.tokens)
        self.headers: dict[int, dict[str, str]] = {}
        self.actors: list[Actor] = []
        self._add("admin", await world.admin())
        for zone in ZONES[:2]:
            clinic = await world.clinic(zone)
            self.model.clinics[clinic] = Clinic(zone)
            self._add("staff", await world.staff(clinic))
            doctor = await world.doctor(clinic, max_patients_per_day=2)
            self.model.doctors[doctor.doctor_id] = Doctor(clinic, limit=2)
            self._add("doctor", doctor)
        for _ in range(3):
            patient = await world.patient()
            self.model.patients[patient.patient_id] = True
            self._add("patient", patient)
        for doctor_id, of in self.model.doctors.items():
            midnight = self.first_day.replace(tzinfo=ZoneInfo(self.model.clinics[of.clinic].zone))
            for minute, capacity in ((-60, 2), (0, 1), (60, 3)):
                start = (midnight + timedelta(minutes=minute)).astimezone(UTC)
                row = {"doctor_id": doctor_id, "clinic_id": of.clinic, "slot_datetime": start, "capacity": capacity}
                number = await world._insert("appointment_slots", **row)
                self.model.slots[number] = Slot(doctor_id, of.clinic, start, 30, capacity)

    def _add(self, role: str, person: Any) -> None:
        self.headers[person.user_id] = person.headers
        clinic = person.clinic_id if role == "staff" else 0
        self.actors.append(Actor(role, person.user_id, person.patient_id, person.doctor_id, clinic))

    def _actor(self, number: int, who: Callable[[Actor], bool] | None) -> Actor:
        """One of those who may do it; anybody without a condition."""
        fit = [actor for actor in self.actors if who is None or who(actor)]
        return fit[number % len(fit)]

    def _send(self, actor: Actor, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        sent = self.headers[actor.user] | {"content-type": "application/json"} | headers
        return self.bench.run(self.bench.client.request(method, path, content=content, headers=sent))

    def _check(self, answer: httpx.Response, expected: Expected) -> None:
        got = (answer.status_code, answer.json()["error_code"] if answer.is_error else None)
        assert got == expected, answer.text

    def _admin_puts(self, path: str, body: dict[str, Any], expected: Expected = booking_model.OK) -> None:
        self._check(self._send(self.actors[0], "PUT", path, body), expected)

    @rule(who=which, doctor=which, day=st.integers(0, 2), zone=st.sampled_from(ZONES),
          minute=st.sampled_from([-60, -30, -15, 0, 30, 600]), minutes=st.sampled_from([15, 30, 60]),
          capacity=st.integers(1, 3), elsewhere=rarely, anybody=rarely)  # fmt: skip
    def create_slot(
        self, who: int, doctor: int, day: int, zone: str, minute: int, minutes: int, capacity: int, elsewhere: bool,
        anybody: bool,
    ) -> None:  # fmt: skip
        doctor_id = _one_of(self.model.doctors, doctor)
        clinic = self.model.doctors[doctor_id].clinic
        actor = self._actor(who, None if anybody else lambda a: a.doctor == doctor_id or a.runs(clinic))
        midnight = (self.first_day + timedelta(days=day)).replace(tzinfo=ZoneInfo(zone))
        start = midnight.astimezone(UTC) + timedelta(minutes=minute)
        slot = Slot(doctor_id, 3 - clinic if elsewhere else clinic, start, minutes, capacity)
        body = {
            "doctor_id": doctor_id, "clinic_id": slot.clinic, "slot_datetime": start.isoformat(),
            "duration_minutes": minutes, "capacity": capacity,
        }  # fmt: skip
        expected = self.model.create_slot(actor, slot)
        answer = self._send(actor, "POST", "/slots", body)
        self._check(answer, expected)
        if answer.is_success:
            self.model.slots[answer.json()["id"]] = slot

    @rule(who=which, patient=which, slot=which, twist=st.sampled_from([None] * 9 + ["doctor", "clinic", "patient"]),
          key=st.sampled_from([None, None, "first", "second"]), anybody=rarely)  # fmt: skip
    def book(self, who: int, patient: int, slot: int, twist: str | None, key: str | None, anybody: bool) -> None:
        slot_id = _one_of(self.model.slots, slot) + 99 * (patient == 11)
        of = self.model.slots.get(slot_id, Slot(1, 1, self.model.now, 30, 1))
        wanted = Booking(_one_of(self.model.patients, patient), of.doctor, of.clinic, slot_id)
        actor = self._actor(
            who,
            None if anybody else lambda a: a.patient == wanted.patient or a.doctor == of.doctor or a.runs(of.clinic),
        )
        if twist:
            wanted = replace(wanted, **{twist: patient + 1})
        body = {f"{name}_id": value for name, value in asdict(wanted).items()}
        said = json.dumps(body)
        kept = self.kept.get((actor.user, key)) if key else None
        if kept:
            expected = kept[1] if kept[0] == said else booking_model.KEY_REUSED
        else:
            expected = self.model.book(actor, wanted)
        answer = self._send(actor, "POST", "/appointments/book", body, **({"idempotency-key": key} if key else {}))
        self._check(answer, expected)
        if kept:
            assert answer.is_error or answer.content == kept[2]
        elif answer.is_success:
            self.model.appointments[answer.json()["id"]] = Appointment(wanted.patient, slot_id)
            if key:
                self.kept[actor.user, key] = (said, expected, answer.content)

    @precondition(lambda self: self.model.appointments)
    @rule(who=which, appointment=which, anybody=rarely)
    def cancel(self, who: int, appointment: int, anybody: bool) -> None:
        live = {number: a for number, a in self.model.appointments.items() if a.status in LIVE}
        number = _one_of(self.model.appointments if anybody or not live else live, appointment)
        booked = self.model.appointments[number]
        number += 99 * (who == 11)
        of = self.model.slots[booked.slot]
        actor = self._actor(
            who,
            None if anybody else lambda a: a.patient == booked.patient or a.doctor == of.doctor or a.runs(of.clinic),
        )
        expected = self.model.cancel(actor, number)
        self._check(self._send(actor, "POST", f"/appointments/{number}/cancel", {"cancelled_reason": "ill"}), expected)

    @precondition(lambda self: self.model.appointments)
    @rule(appointment=which, status=st.sampled_from(["confirmed", "completed", "no_show"]))
    def settle_by_sql(self, appointment: int, status: str) -> None:
        number = _one_of(self.model.appointments, appointment)
        if number and self.model.appointments[number].status in LIVE:
            change = "UPDATE appointments SET status = $2 WHERE id = $1"
            self.bench.run(self.bench.owner.execute(change, number, status))
            self.model.appointments[number].status = status

    @precondition(lambda self: any(a.status == "cancelled" for a in self.model.appointments.values()))
    @rule(appointment=which)
    def revive_by_sql(self, appointment: int) -> None:
        number = _one_of({n: a for n, a in self.model.appointments.items() if a.status == "cancelled"}, appointment)
        expected, got = self.model.revive(number), None
        try:
            change = "UPDATE appointments SET status = 'pending', cancelled_at = NULL WHERE id = $1"
            self.bench.run(self.bench.as_app.execute(change, number))
        except asyncpg.IntegrityConstraintViolationError as refused:
            got = refused.constraint_name
        assert got == expected

    @precondition(lambda self: sum(slot.active for slot in self.model.slots.values()) > 3)
    @rule(who=which, slot=which, anybody=rarely)
    def delete_slot(self, who: int, slot: int, anybody: bool) -> None:
        taken = {number: of for number, of in self.model.slots.items() if self.model.is_live(number)}
        number = _one_of(taken if taken and slot % 2 else self.model.slots, slot // 2)
        actor = self._actor(who, None if anybody else lambda a: a.runs(self.model.slots[number].clinic))
        expected = self.model.delete_slot(actor, number)
        self._check(self._send(actor, "DELETE", f"/slots/{number}"), expected)

    @rule(what=st.sampled_from(["limit", "limit", "move", "zone", "zone", "switch"]), one=which,
          limit=st.integers(1, 4), zone=st.sampled_from(ZONES))  # fmt: skip
    def administer(self, what: str, one: int, limit: int, zone: str) -> None:
        clinic, doctor = _one_of(self.model.clinics, one), _one_of(self.model.doctors, one)
        if what == "limit":
            doctor = max(self.model.doctors, key=self.model.busiest) if one % 2 else doctor
            self._admin_puts(f"/doctors/{doctor}", {"max_patients_per_day": limit}, self.model.limit(doctor, limit))
        elif what == "zone":
            self._admin_puts(f"/clinics/{clinic}", {"time_zone": zone}, self.model.move_zone(clinic, zone))
        elif what == "move":
            self.model.doctors[doctor].clinic = 3 - self.model.doctors[doctor].clinic
            self._admin_puts(f"/doctors/{doctor}", {"clinic_id": self.model.doctors[doctor].clinic})
        else:
            self._switch(("doctors", "clinics", "patients")[limit % 3], one)

    def _switch(self, kind: str, number: int) -> None:
        """Make something inactive, or, if anything is, active again."""
        if kind == "patients":
            one = next((i for i, active in self.model.patients.items() if not active), None)
            one = one or _one_of(self.model.patients, number)
            active = self.model.patients[one] = not self.model.patients[one]
        else:
            things: dict[int, Any] = getattr(self.model, kind)
            one = next((i for i, thing in things.items() if not thing.active), None) or _one_of(things, number)
            active = things[one].active = not things[one].active
        self._admin_puts(f"/{kind}/{one}", {"is_active": active})

    @rule(hours=st.sampled_from([1, 1, 5, 12]))
    def time_passes(self, hours: int) -> None:
        self.model.now = min(self.model.now + timedelta(hours=hours), self.first_day + timedelta(days=3))

    @invariant()
    def the_database_keeps_its_rules(self) -> None:
        assert self.bench.run(self.bench.owner.fetch(BROKEN)) == []

    @invariant()
    def the_model_and_the_directory_agree(self) -> None:
        counts = {row["id"]: row["booked_count"] for row in self.bench.run(self.bench.owner.fetch(COUNTS))}
        assert counts == {slot: self.model.held(slot) for slot in self.model.slots}
        listed = self.bench.run(self.bench.client.get("/slots"))
        assert [slot["id"] for slot in listed.json()] == self.model.bookable()


def _one_of(things: dict[int, Any], number: int) -> int:
    """One of the ids; 0 if there is none."""
    return sorted(things)[number % len(things)] if things else 0


def _settings(histories: int, *, steps: int = 40, shrink: bool = True) -> settings:
    return settings(
        max_examples=histories,
        stateful_step_count=steps,
        derandomize=not HISTORIES,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def _machine(bench: Bench) -> type[BookingMachine]:
    return type("BookingMachine", (BookingMachine,), {"bench": bench})


@pytest.mark.timeout(0 if HISTORIES else 300)
def test_every_history_is_answered_as_the_model_predicts(bench: Bench):
    run_state_machine_as_test(_machine(bench), settings=_settings(HISTORIES or 20))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(bench: Bench, mistake: str):
    bench.run(bench.owner.execute(MISTAKES[mistake]))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(_machine(bench), settings=_settings(HISTORIES or 60, shrink=False))
