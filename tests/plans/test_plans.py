"""How what is asked for most often is found among many rows: never by reading a big table whole."""

import httpx
import pytest

from health_services.notifications.repository import LEASE, NotificationRepository
from health_services.webhooks.repository import DeliveryRepository, Room
from tests.api.answers import next_page
from tests.conftest import service_database
from tests.plans.explaining import TIMES, Region, whole
from tests.servers import TestDatabase

# Each slot that is listed is found in an index of what can be booked, from the cursor on.
SLOTS = {
    "/slots": "ix_appointment_slots_bookable",
    "/slots?skip=20": "ix_appointment_slots_bookable",
    "/slots?date_from={soon}": "ix_appointment_slots_bookable",
    "/slots?date_to={later}": "ix_appointment_slots_bookable",
    "/slots?date_from={soon}&date_to={later}": "ix_appointment_slots_bookable",
    "/slots?clinic_id={clinic}": "ix_appointment_slots_clinic_id_bookable",
    "/slots?clinic_id={clinic}&date_from={soon}&date_to={later}": "ix_appointment_slots_clinic_id_bookable",
    "/slots?doctor_id={doctor}": "ix_appointment_slots_doctor_id_bookable",
    "/slots?doctor_id={doctor}&date_from={soon}": "ix_appointment_slots_doctor_id_bookable",
    "/slots?doctor_id={doctor}&clinic_id={clinic}": "ix_appointment_slots_",
}
ONE = [
    "anybody /slots/50",
    "anybody /doctors/{doctor}",
    "anybody /clinics/{clinic}",
    "patient /auth/profile",
    "patient /patients/{patient}",
    "doctor /appointments/{visit}",
]
LISTS = [
    "anybody /doctors",
    "anybody /doctors?specialty=specialty+3",
    "anybody /doctors?clinic_id={clinic}",
    "anybody /clinics/{clinic}/doctors",
    "anybody /clinics?city=city+3",
    "patient /auth/sessions",
    "patient /patients/{patient}/appointments",
    "patient /patients/{patient}/access-log",
    "doctor /doctors/{doctor}/appointments",
    "doctor /doctors/{doctor}/appointments?status=pending",
    "doctor /doctors/{doctor}/appointments?date_from={soon}&date_to={later}",
    "doctor /appointments/{visit}/notifications",
    "staff /appointments",
    "staff /appointments?status=confirmed",
    "staff /appointments?date_from={soon}&date_to={later}",
    "admin /appointments",
    "admin /appointments?status=pending",
    "admin /appointments?status=no_show",
    "admin /appointments?clinic_id={clinic}",
    "admin /appointments?clinic_id={clinic}&status=pending",
    "admin /appointments?doctor_id={doctor}",
    "admin /appointments?patient_id={patient}",
    "admin /appointments?date_from={soon}&date_to={later}",
    "admin /notifications",
    "admin /notifications?state=queued",
    "admin /notifications?state=failed&channel=sms",
    "admin /notifications?kind=security_notice",
    "admin /notifications?channel=push",
    "admin /notifications/unreachable",
    "admin /users",
    "admin /users?role=admin",
    "admin /users?is_active=false",
    "admin /webhooks/1/deliveries",
    "admin /webhooks/1/deliveries?state=failed",
    "admin /audit",
    "admin /audit?user_id={doctor}",
    "admin /audit?patient_id={patient}",
    "admin /audit?action=erase_patient",
    "admin /audit?outcome=refused",
    "admin /audit?date_from={day}&date_to={soon}",
]


async def found(region: Region, api: httpx.AsyncClient, ask: str, *, times: int = 1) -> list[str]:
    """Plans of the statements for the answer; the address of the next page, if any, comes last."""
    who, _, address = ask.partition(" ")
    before = await region.read_whole(region.app.state.database)
    for _ in range(times):
        with region.explained(region.app.state.database):
            answer = await api.get(address, headers=region.people[who].headers)
        assert answer.status_code == 200, answer.text
        assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
    assert await region.read_whole(region.app.state.database) == before
    link = next_page(answer)
    return [*(plan for _, plan in region.plans), *([f"{who} {link.removeprefix('/api/v1')}"] if link else [])]


@pytest.mark.parametrize("ask", ONE)
async def test_nothing_is_read_whole_for_a_row(region: Region, api: httpx.AsyncClient, ask: str):
    await found(region, api, ask.format(**region.values), times=TIMES)


@pytest.mark.parametrize("ask", LISTS)
async def test_nothing_is_read_whole_for_a_page(region: Region, api: httpx.AsyncClient, ask: str):
    """Neither for the first page nor for the second, which begins at a cursor."""
    joint = "&" if "?" in ask else "?"
    *_, last = await found(region, api, f"{ask.format(**region.values)}{joint}limit=3")
    if "cursor=" in last:
        await found(region, api, last)


@pytest.mark.parametrize("path", SLOTS)
async def test_slots_are_read_in_their_order_from_the_cursor_on(region: Region, api: httpx.AsyncClient, path: str):
    address = path.format(**region.values) + ("&" if "?" in path else "?") + "limit=1"
    first, second = await found(region, api, f"anybody {address}", times=TIMES)
    after, *_ = await found(region, api, second, times=TIMES)
    for plan in (first, after):
        assert SLOTS[path] in plan, plan
        assert "Sort" not in plan or "doctor_id" in path, "a doctor's few may be sorted"
    assert "ROW(slot_datetime, id) > ROW(" in after


async def test_nothing_is_read_whole_for_a_booking(region: Region, api: httpx.AsyncClient):
    database, patient = region.app.state.database, region.people["patient"]
    before = await region.read_whole(database)
    for number in range(TIMES):
        headers = patient.headers | {"Idempotency-Key": f"key {number}"}
        with region.explained(database):
            booked = await api.post("/appointments/book", json=region.values["booking"], headers=headers)
            again = await api.post("/appointments/book", json=region.values["booking"], headers=headers)
            assert booked.status_code == 201, booked.text
            assert again.headers["idempotent-replayed"] == "true"
            cancelled = await api.post(f"/appointments/{booked.json()['id']}/cancel", headers=patient.headers)
            assert cancelled.status_code == 200, cancelled.text
            refused = await api.post("/appointments/book", json=region.values["taken"], headers=patient.headers)
            assert refused.json()["detail"] == "This slot is fully booked."
        assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
        assert len(region.plans) > 9
    assert await region.read_whole(database) == before


async def test_nothing_is_read_whole_to_sign_in_or_to_find_a_patient(region: Region, api: httpx.AsyncClient):
    database = region.app.state.database
    before = await region.read_whole(database)
    asked = {
        "/auth/login": ({"email": "user500@example.org", "password": "three blue teapots"}, {}, 401),
        "/patients/search": ({"query": "someone of no such name"}, region.people["admin"].headers, 200),
    }
    for path, (body, headers, status) in asked.items():
        for _ in range(TIMES):
            with region.explained(database):
                answer = await api.post(path, json=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert region.plans
            assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
    assert await region.read_whole(database) == before


async def test_nothing_is_read_whole_for_what_is_due(region: Region, crowd: TestDatabase):
    service = service_database(crowd, region.app)
    try:
        before = await region.read_whole(service)
        for _ in range(TIMES):
            with region.explained(service):
                async with service.reading() as session:
                    assert await NotificationRepository(session).take("email", 3, LEASE)
                    assert await NotificationRepository(session).next_due("email") is not None
                    assert await DeliveryRepository(session).claim(3, Room(2, 1, []), lease=LEASE)
            assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
        assert await region.read_whole(service) == before
    finally:
        await service.close()


@pytest.mark.parametrize(
    ("index", "who", "address", "table"),
    [
        ("ix_appointments_patient_id", "patient", "/patients/{patient}/appointments", "appointments"),
        ("ix_users_inactive", "admin", "/users?is_active=false&limit=3", "users"),
        ("ix_audit_log_patient", "admin", "/audit?patient_id={patient}", "audit_log"),
    ],
)
async def test_it_shows_where_an_index_is_missing(
    region: Region, api: httpx.AsyncClient, index: str, who: str, address: str, table: str
):
    """In a plan of the statement, or, where a function asks, in the server's count."""
    database = region.app.state.database
    definition = await region.owner.fetchval("SELECT pg_get_indexdef($1::text::regclass)", index)
    before = (await region.read_whole(database))[table]
    await region.owner.execute(f"DROP INDEX {index}")
    try:
        with region.explained(database):
            answer = await api.get(address.format(**region.values), headers=region.people[who].headers)
        assert answer.status_code == 200
    finally:
        await region.owner.execute(definition)
    counted = (await region.read_whole(database))[table] > before
    assert counted or table in [name for _, plan in region.plans for name in whole(plan)]
