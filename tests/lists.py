"""Every list that has pages, with rows of a test's own in it, and what takes one out of it again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api.answers import next_page
from tests.factories import Person, World

Make = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Some:
    """A list in which a test has rows: how one more is made, and what takes one out of it again."""

    path: str
    caller: Person
    make: Make
    take_out: str
    body: Any = None
    id_name: str = "id"

    async def read(self, api: httpx.AsyncClient, address: str) -> tuple[list[int], str | None]:
        """A page's ids, and the address of the next."""
        method = "POST" if self.body else "GET"
        answer = await api.request(method, address, json=self.body, headers=self.caller.headers)
        assert answer.status_code == 200, answer.text
        found = next_page(answer)
        return [row[self.id_name] for row in answer.json()], found and found.removeprefix("/api/v1")


def _inserting(world: World, statement: str, *values: Any) -> Make:
    async def make() -> int:
        return int(await world.owner.fetchval(f"{statement} RETURNING id", *values))

    return make


async def _clinics(world: World, admin: Person) -> Some:
    return Some("/clinics?city=Here", admin, lambda: world.clinic(city="here"),
                "UPDATE clinics SET is_active = false WHERE id = $1")  # fmt: skip


async def _doctors(world: World, admin: Person) -> Some:
    clinic = await world.clinic()

    async def make() -> int:
        return (await world.doctor(clinic)).doctor_id

    take_out = "UPDATE doctors SET is_active = false WHERE id = $1"
    return Some(f"/clinics/{clinic}/doctors", admin, make, take_out)


async def _slots(world: World, admin: Person) -> Some:
    doctor = await world.doctor()
    take_out = "UPDATE appointment_slots SET is_active = false WHERE id = $1"
    return Some(f"/slots?doctor_id={doctor.doctor_id}", admin, lambda: world.slot(doctor), take_out)


async def _appointments(world: World, admin: Person) -> Some:
    doctor, patient = await world.doctor(max_patients_per_day=1000), await world.patient()
    take_out = "UPDATE appointments SET is_active = false, status = 'cancelled' WHERE id = $1"
    path = f"/doctors/{doctor.doctor_id}/appointments?status=pending"
    return Some(path, doctor, lambda: world.appointment(patient, doctor), take_out)


async def _users(world: World, admin: Person) -> Some:
    async def make() -> int:
        return (await world.user("staff")).user_id

    return Some("/users?role=staff&is_active=true", admin, make, "UPDATE users SET is_active = false WHERE id = $1")


async def _found_patients(world: World, admin: Person) -> Some:
    async def make() -> int:
        return (await world.patient(user={"name": "Ann"})).patient_id

    take_out = "UPDATE users SET name = 'Zoe' WHERE id = (SELECT user_id FROM patients WHERE id = $1)"
    return Some("/patients/search", admin, make, take_out, body={"query": "ann"})


async def _messages(world: World, admin: Person) -> Some:
    make = _inserting(
        world,
        """INSERT INTO notifications (kind, channel, user_id, subject, state, due_at, next_attempt_at)
           VALUES ('security_notice', 'sms', $1, gen_random_uuid()::text, 'failed', now(), now())""",
        admin.user_id,
    )
    path = "/notifications?state=failed&channel=sms&kind=security_notice"
    return Some(path, admin, make, "DELETE FROM notifications WHERE id = $1")


async def _messages_of_an_appointment(world: World, admin: Person) -> Some:
    visit = await world.appointment(await world.patient(), await world.doctor())
    make = _inserting(
        world,
        """INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, revision, due_at,
                                      next_attempt_at)
           SELECT 'appointment_booked', 'sms', $1, $2::bigint, 'appointment:' || $2::bigint,
                  COALESCE(max(revision), 0) + 1, now(), now() FROM notifications""",
        *(admin.user_id, visit),
    )
    take_out = "DELETE FROM notifications WHERE id = $1"
    return Some(f"/appointments/{visit}/notifications", admin, make, take_out)


async def _people_to_call(world: World, admin: Person) -> Some:
    # of most it is always useful, so that the place in the list is the id's alone
    make = _inserting(
        world,
        """INSERT INTO notifications (kind, channel, user_id, subject, state, is_unreachable, due_at, next_attempt_at,
                                      expires_at)
           SELECT 'security_notice', 'sms', $1, gen_random_uuid()::text, 'failed', true, now(), now(),
                  CASE WHEN count(*) < 2 THEN now() + interval '1 day' END FROM notifications""",
        admin.user_id,
    )
    take_out = "UPDATE notifications SET is_unreachable = false WHERE id = $1"
    return Some("/notifications/unreachable", admin, make, take_out, id_name="notification_id")


async def _browsers(world: World, admin: Person) -> Some:
    make = _inserting(
        world,
        """INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth)
           VALUES ($1, 'https://8.8.8.8/' || gen_random_uuid(), 'x', 'x')""",
        admin.user_id,
    )
    return Some("/users/me/push-subscriptions", admin, make, "DELETE FROM push_subscriptions WHERE id = $1")


async def _api_keys(world: World, admin: Person) -> Some:
    make = _inserting(
        world,
        """INSERT INTO api_keys (user_id, name, prefix, secret_hash, scopes)
           VALUES ($1, 'x', gen_random_uuid()::text, '', '{}')""",
        admin.user_id,
    )
    return Some("/api-keys", admin, make, "DELETE FROM api_keys WHERE id = $1")


async def _sessions(world: World, admin: Person) -> Some:
    make = _inserting(
        world,
        """INSERT INTO sessions (user_id, expires_at, last_used_at)
           SELECT $1, now() + interval '1 day', now() + count(*) / 2 * interval '1 minute' FROM sessions""",
        admin.user_id,
    )
    take_out = "UPDATE sessions SET ended_at = now(), ended_reason = 'x' WHERE id = $1"
    return Some("/auth/sessions", admin, make, take_out)


async def _webhooks(world: World, admin: Person) -> Some:
    make = _inserting(world, "INSERT INTO webhooks (url, events, secret) VALUES ('https://8.8.8.8', '{}', '')")
    return Some("/webhooks", admin, make, "UPDATE webhooks SET deleted_at = now() WHERE id = $1")


async def _deliveries(world: World, admin: Person) -> Some:
    webhook = await (await _webhooks(world, admin)).make()
    make = _inserting(
        world,
        """INSERT INTO webhook_deliveries (webhook_id, event, subject, body, state)
           VALUES ($1, 'slot.created', 'slot:1', '', 'failed')""",
        webhook,
    )
    path, take_out = f"/webhooks/{webhook}/deliveries?state=failed", "DELETE FROM webhook_deliveries WHERE id = $1"
    return Some(path, admin, make, take_out)


def _entry(world: World, patient_id: int) -> Make:
    return _inserting(
        world,
        """INSERT INTO audit_log (nonce, at, user_id, action, patient_ids, outcome, status, request_id, key_id, mac)
           SELECT gen_random_uuid(), now() + count(*) / 2 * interval '1 second', 7, 'x',
                  CASE count(*) % 2 WHEN 0 THEN ARRAY[$1::bigint] ELSE ARRAY[$1::bigint, 0] END, 'refused', 200, 'x',
                  'x', '' FROM audit_log""",
        patient_id,
    )


async def _audit(world: World, admin: Person) -> Some:
    take_out = "DELETE FROM audit_log WHERE id = $1"
    return Some("/audit?patient_id=5&action=x&outcome=refused&user_id=7", admin, _entry(world, 5), take_out)


async def _accesses(world: World, admin: Person) -> Some:
    patient = await world.patient()
    path, take_out = f"/patients/{patient.patient_id}/access-log", "DELETE FROM audit_log WHERE id = $1"
    return Some(path, patient, _entry(world, patient.patient_id), take_out)


# Where new rows come behind all others, and where before them.
BY_ID = {
    "clinics": _clinics, "doctors": _doctors, "slots": _slots, "appointments": _appointments, "users": _users,
    "found patients": _found_patients, "messages": _messages, "messages of an appointment": _messages_of_an_appointment,
    "people to call": _people_to_call, "browsers": _browsers, "API keys": _api_keys, "webhooks": _webhooks,
}  # fmt: skip
NEWEST_FIRST = {"sessions": _sessions, "deliveries": _deliveries, "audit": _audit, "accesses": _accesses}
