import itertools
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from health_services.appointments.models import AppointmentStatus
from health_services.auth.passwords import Passwords, why_refused
from health_services.demo.geography import SITES
from health_services.demo.plan import Region, draw
from health_services.demo.region import LOGINS, DatabaseNotEmpty, Login, build
from health_services.errors import OperatorError
from tests.demo.places import LEADS, NOW, Place, Places
from tests.invariants import INVARIANTS


async def test_is_as_large_as_promised(place: Place):
    row = await place.owner.fetchrow(
        """SELECT (SELECT count(*) FROM clinics) AS clinics, (SELECT count(DISTINCT city) FROM clinics) AS cities,
                  (SELECT count(DISTINCT time_zone) FROM clinics) AS zones, (SELECT count(*) FROM doctors) AS doctors,
                  (SELECT count(DISTINCT specialty) FROM doctors) AS specialties,
                  (SELECT count(*) FROM patients) AS patients,
                  (SELECT count(DISTINCT doctor_id) FROM appointment_slots) AS busy_doctors"""
    )
    assert dict(row) == {
        "clinics": 12, "cities": 8, "zones": 4, "doctors": 120, "specialties": 20, "patients": 500, "busy_doctors": 120,
    }  # fmt: skip
    slots = await place.owner.fetchval("SELECT count(*) FROM appointment_slots")
    assert 15_000 < slots < 30_000


async def test_slots_last_four_weeks_and_some_are_for_groups(place: Place):
    row = await place.owner.fetchrow(
        """SELECT min(local_date) AS first, max(local_date) AS last, count(DISTINCT local_date) AS days,
                  array_agg(DISTINCT duration_minutes ORDER BY duration_minutes) AS durations,
                  count(*) FILTER (WHERE capacity > 1) AS groups,
                  count(*) FILTER (WHERE capacity > 1 AND is_booked) AS full_groups,
                  count(*) FILTER (WHERE booked_count BETWEEN 1 AND capacity - 1) AS begun_groups
           FROM appointment_slots"""
    )
    assert (row["first"], row["last"], row["days"]) == (
        NOW.date() - timedelta(days=7),
        NOW.date() + timedelta(days=20),
        20,
    )
    assert row["durations"] == [15, 20, 30, 45]
    assert row["groups"] > 100
    assert row["full_groups"]
    assert row["begun_groups"]


async def test_every_status_occurs_where_it_belongs(place: Place):
    rows = await place.owner.fetch(
        """SELECT status::text, count(*) FILTER (WHERE ends_at <= $1) AS past,
                  count(*) FILTER (WHERE starts_at > $1) AS future, count(*) AS all,
                  count(notes) AS with_notes, count(cancelled_at) AS cancelled,
                  bool_and(coalesce(cancelled_at < least($1, starts_at), true)) AS cancelled_before
           FROM (SELECT a.*, slot_datetime AS starts_at,
                        slot_datetime + make_interval(mins => duration_minutes) AS ends_at
                 FROM appointments a JOIN appointment_slots s ON s.id = slot_id) a GROUP BY status""",
        NOW,
    )
    of = {row["status"]: row for row in rows}
    assert set(of) == set(AppointmentStatus)
    for status in ("completed", "no_show"):
        assert of[status]["past"] == of[status]["all"]
    assert of["pending"]["future"] == of["pending"]["all"]
    assert of["confirmed"]["past"] == 0
    assert of["cancelled"]["past"]
    assert of["cancelled"]["future"]
    assert of["completed"]["with_notes"] == of["completed"]["all"]
    assert sum(row["with_notes"] for row in rows) == of["completed"]["all"]
    assert sum(row["cancelled"] for row in rows) == of["cancelled"]["all"]
    assert all(row["cancelled_before"] for row in rows)


@pytest.mark.parametrize("name", INVARIANTS)
async def test_keeps_the_invariants(place: Place, name: str):
    assert await place.owner.fetch(INVARIANTS[name]) == []


async def test_no_day_of_past_or_future_exceeds_its_limit(place: Place):
    days = await place.owner.fetch(
        """SELECT count(*) AS booked, max(max_patients_per_day) AS most
           FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
           JOIN doctors d ON d.id = s.doctor_id WHERE a.status <> 'cancelled' GROUP BY s.doctor_id, s.local_date"""
    )
    assert all(day["booked"] <= day["most"] for day in days)


async def test_nobody_is_in_two_places_at_once(place: Place):
    overlapping = await place.owner.fetch(
        """WITH visit AS (
               SELECT a.id, patient_id, slot_datetime AS begins,
                      slot_datetime + make_interval(mins => duration_minutes) AS ends
               FROM appointments a JOIN appointment_slots s ON s.id = slot_id WHERE status <> 'cancelled')
           SELECT FROM visit a JOIN visit b USING (patient_id)
           WHERE a.id < b.id AND a.begins < b.ends AND b.begins < a.ends"""
    )
    assert overlapping == []


async def test_slots_lie_within_opening_hours_of_the_clinic_across_the_change_of_the_clocks(place: Place):
    rows = await place.owner.fetch(
        """SELECT slot_datetime, duration_minutes, local_date, time_zone
           FROM appointment_slots s JOIN clinics c ON c.id = clinic_id"""
    )
    offsets = set()
    for row in rows:
        begins = row["slot_datetime"].astimezone(ZoneInfo(row["time_zone"]))
        ends = begins + timedelta(minutes=row["duration_minutes"])
        assert begins.weekday() < 5
        assert begins.date() == row["local_date"]
        assert "08:00" <= f"{begins:%H:%M}" < f"{ends:%H:%M}" <= "17:00"
        assert not (f"{begins:%H:%M}" < "12:45" and f"{ends:%H:%M}" > "12:30"), "lunch"
        offsets.add((row["time_zone"], begins.utcoffset()))
    assert len(offsets) == 8  # each zone before and after


async def test_only_the_four_logins_can_sign_in(place: Place, passwords: Passwords):
    rows = await place.owner.fetch(
        """SELECT email, name, role::text, password_hash, is_active, is_verified FROM users
           WHERE password_hash IS NOT NULL"""
    )
    assert {(row["role"], row["name"], row["email"]) for row in rows} == {(x.role, x.name, x.email) for x in LOGINS}
    for row in rows:
        (login,) = (login for login in LOGINS if login.email == row["email"])
        assert (await passwords.check(login.password, row["password_hash"]))[0]
        assert row["is_active"]
        assert row["is_verified"]


@pytest.mark.parametrize("login", LOGINS, ids=lambda login: login.role)
def test_the_passwords_would_be_accepted(login: Login):
    assert len(login.password) >= 8
    assert why_refused(login.password, email=login.email, name=login.name) is None


async def test_the_logins_belong_together(place: Place):
    row = await place.owner.fetchrow(
        """SELECT count(*) FILTER (WHERE status = 'completed' AND slot_datetime < $1) AS completed,
                  count(*) FILTER (WHERE status IN ('pending', 'confirmed') AND slot_datetime > $1) AS upcoming,
                  bool_and(is_agreed) AS is_agreed, bool_and(booked_by_user_id = p.user_id) AS booked_it,
                  bool_and(EXISTS (SELECT FROM clinic_staff JOIN users st ON st.id = user_id
                                   WHERE clinic_id = a.clinic_id AND st.email = $4)) AS has_staff
           FROM appointments a JOIN appointment_slots s ON s.id = slot_id
           JOIN patients p ON p.id = patient_id JOIN users pu ON pu.id = p.user_id
           JOIN doctors d ON d.id = a.doctor_id JOIN users du ON du.id = d.user_id
           WHERE pu.email = $2 AND du.email = $3""",
        NOW,
        *(login.email for login in LOGINS[:3]),
    )
    assert row["completed"] >= 2
    assert row["upcoming"] >= 2
    assert row["is_agreed"]
    assert row["booked_it"]
    assert row["has_staff"]


async def test_nothing_leads_to_a_real_person(region: Region):
    phones = [person.mobile_no for person in region.people] + region.clinic_phones
    phones += [p.emergency_contact.rpartition(" ")[2] for p in region.patients if p.emergency_contact]
    assert all(re.fullmatch(r"\+1-\d{3}-555-01\d\d", phone) for phone in phones)
    assert len(set(phones)) == len(phones)
    emails = [person.email for person in region.people if person.email] + [site.email for site in SITES]
    assert {email.partition("@")[2] for email in emails} == {"example.org", "example.com"}
    assert len(set(emails)) == len(emails)
    assert all(email.isascii() and email == email.lower() for email in emails)
    assert any(not person.name.isascii() for person in region.people)


async def test_refuses_other_data_and_adds_the_same_region_beside_it_when_forced(
    place: Place, places: Places, passwords: Passwords
):
    other = await places()
    await other.owner.execute("INSERT INTO users (name) VALUES ('Somebody'), ('Another')")
    await other.owner.execute("INSERT INTO clinics (name) VALUES ('Theirs')")
    before = await other.sizes()
    with pytest.raises(DatabaseNotEmpty, match=r"2 users, 1 clinic\).*--force"):
        await build(other.database, passwords, seed=1, now=NOW)
    assert await other.sizes() == before
    assert await build(other.database, passwords, seed=1, now=NOW, force=True) == list(LOGINS)
    await other.owner.execute("DELETE FROM users WHERE name IN ('Somebody', 'Another')")
    await other.owner.execute("DELETE FROM clinics WHERE name = 'Theirs'")
    assert await other.digests() == await place.digests()


def test_another_seed_makes_another_region(region: Region):
    other = draw(2, NOW, LEADS)
    assert other.people != region.people
    assert other.slots != region.slots
    assert other.visits != region.visits


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("hours", range(0, 7 * 24, 37))
def test_can_be_drawn_at_any_time(seed: int, hours: int):
    now = datetime(2026, 10, 26, tzinfo=UTC) + timedelta(hours=hours)
    drawn = draw(seed, now, LEADS)
    first = [visit for visit in drawn.visits if visit.patient == 0 and drawn.slots[visit.slot].doctor == 0]
    statuses = {visit.status for visit in first}
    assert statuses >= set(AppointmentStatus) - {AppointmentStatus.NO_SHOW}
    assert all(drawn.patients[v.patient].is_active for v in drawn.visits if v.status in {"pending", "confirmed"})
    assert all(patient.date_of_birth < now.date() for patient in drawn.patients)


async def test_tells_how_far_it_is(place: Place, heard: list[tuple[str, int, int]]):
    assert {what for what, _, _ in heard} >= {"Clinics", "Users", "Appointment slots", "Appointments"}
    assert all(earlier[1] <= later[1] for earlier, later in itertools.pairwise(heard))
    assert {total for _, _, total in heard} == {heard[-1][1]}
    assert heard[-1][1] == sum((await place.sizes()).values())


@pytest.mark.parametrize("force", [False, True])
async def test_is_not_added_twice(place: Place, passwords: Passwords, force: bool):
    before = await place.sizes()
    with pytest.raises(OperatorError, match="demonstration region") as refusal:
        await build(place.database, passwords, seed=2, now=NOW, force=force)
    assert isinstance(refusal.value, DatabaseNotEmpty) is not force
    assert "--force" not in str(refusal.value)
    assert await place.sizes() == before


async def test_what_fails_half_way_leaves_nothing(places: Places, passwords: Passwords):
    place = await places()

    def stop(what: str, _done: int, _total: int) -> None:
        if what == "Appointment slots":
            raise KeyError(what)

    with pytest.raises(KeyError):
        await build(place.database, passwords, seed=1, now=NOW, progress=stop)
    assert set((await place.sizes()).values()) == {0}


async def test_refuses_an_address_that_somebody_has(places: Places, passwords: Passwords, region: Region):
    place = await places()
    taken = next(person.email for person in reversed(region.people) if person.email)
    await place.owner.execute("INSERT INTO users (name, email) VALUES ('Somebody', $1)", taken)
    with pytest.raises(OperatorError, match=taken):
        await build(place.database, passwords, seed=1, now=NOW, force=True)
    assert (await place.sizes())["users"] == 1
