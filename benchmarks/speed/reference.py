"""What the figures are held against, one process each: the least that the framework can do, and the ordinary way.

    python reference.py bare PORT
    python reference.py ordinary PORT OWNER_URL

`bare` is FastAPI with one route. `ordinary` has two of our endpoints as most would write them: ORM objects, a session
for each request, `response_model`, one query for each thing that has to be known. It asks nobody who he is, and leaves
out idempotency keys and what only we do (policies, sealing, rate limits, kept answers): it is faster than it should be.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from health_services.appointment_slots.models import AppointmentSlot
from health_services.appointment_slots.schemas import SlotRead
from health_services.appointments.models import LIVE, Appointment
from health_services.appointments.schemas import AppointmentCreate, AppointmentRead
from health_services.audit.models import AuditEntry
from health_services.clinics.models import Clinic
from health_services.doctors.models import Doctor
from health_services.notifications.models import Notification
from health_services.patients.models import Patient
from health_services.users.models import User


def bare() -> FastAPI:
    """One route, no work."""
    app = FastAPI()

    @app.get("/")
    async def answer() -> dict[str, bool]:
        return {"ok": True}

    return app


def ordinary(owner_url: str) -> FastAPI:
    """Listing and booking by the ORM, on the same tables."""
    url = owner_url.replace("postgresql://", "postgresql+asyncpg://", 1)
    sessions = async_sessionmaker(create_async_engine(url, pool_size=16, max_overflow=0), expire_on_commit=False)
    app = FastAPI()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as opened:
            yield opened

    @app.get("/slots", response_model=list[SlotRead])
    async def list_slots(opened: Annotated[AsyncSession, Depends(session)], doctor_id: int) -> Any:
        query = (
            select(AppointmentSlot)
            .join(Doctor, Doctor.id == AppointmentSlot.doctor_id)
            .join(Clinic, Clinic.id == AppointmentSlot.clinic_id)
            .where(AppointmentSlot.doctor_id == doctor_id, AppointmentSlot.is_active, Doctor.is_active)
            .where(Clinic.is_active, ~AppointmentSlot.is_booked, AppointmentSlot.slot_datetime > datetime.now(UTC))
            .order_by(AppointmentSlot.slot_datetime, AppointmentSlot.id)
            .limit(100)
        )
        slots = (await opened.scalars(query)).all()
        return [{**slot.__dict__, "available_slots": slot.capacity - slot.booked_count} for slot in slots]

    @app.post("/appointments/book", status_code=201, response_model=AppointmentRead)
    async def book(opened: Annotated[AsyncSession, Depends(session)], body: AppointmentCreate) -> Any:
        return await _book(opened, body)

    return app


async def _book(session: AsyncSession, body: AppointmentCreate) -> dict[str, Any]:
    patient = await session.get(Patient, body.patient_id)
    if patient is None or not patient.is_active:
        raise HTTPException(404)
    user = await session.get(User, patient.user_id)
    slot = await session.get(AppointmentSlot, body.slot_id, with_for_update=True)
    doctor, clinic = await session.get(Doctor, body.doctor_id), await session.get(Clinic, body.clinic_id)
    if user is None or slot is None or doctor is None or clinic is None:
        raise HTTPException(404)
    taken = select(Appointment.id).where(Appointment.slot_id == slot.id, Appointment.patient_id == patient.id)
    if slot.is_booked or await session.scalar(taken.where(Appointment.status.in_(LIVE))) is not None:
        raise HTTPException(409)
    made = Appointment(
        patient_id=patient.id, doctor_id=doctor.id, clinic_id=clinic.id, slot_id=slot.id, booked_by_user_id=user.id
    )
    session.add(made)
    await session.flush()
    session.add_all(_messages(made, slot, user.id))
    session.add(_entry(made, user.id))
    await session.commit()
    await session.refresh(made)
    return {**made.__dict__, "slot_datetime": slot.slot_datetime, "duration_minutes": slot.duration_minutes}


def _messages(made: Appointment, slot: AppointmentSlot, user_id: int) -> list[Notification]:
    """The confirmation at once, and reminders a day and two hours before."""
    planned = [("appointment_booked", None), ("appointment_reminder", 1440), ("appointment_reminder", 120)]
    told = []
    for kind, lead in planned:
        due_at = datetime.now(UTC) if lead is None else slot.slot_datetime - timedelta(minutes=lead)
        about = {"subject": f"appointment:{made.id}", "appointment_id": made.id, "starts_at": slot.slot_datetime}
        when = {"due_at": due_at, "next_attempt_at": due_at, "lead_minutes": lead}
        told.append(Notification(kind=kind, channel="email", user_id=user_id, **about, **when))  # type: ignore[arg-type]
    return told


def _entry(made: Appointment, user_id: int) -> AuditEntry:
    whose = {"user_id": user_id, "patient_ids": [made.patient_id], "user_ids": []}
    what = {"via": "session:1", "action": "book_appointment", "object": None, "address": None, "outcome": "success"}
    seal = {"nonce": uuid.uuid4(), "request_id": uuid.uuid4().hex, "key_id": "none", "mac": b""}
    return AuditEntry(at=datetime.now(UTC), status=201, **whose, **what, **seal)


def main() -> None:
    """Serve until a signal comes."""
    what, port = sys.argv[1], int(sys.argv[2])
    app = bare() if what == "bare" else ordinary(sys.argv[3])
    config = uvicorn.Config(
        app, port=port, log_level="warning", access_log=False, server_header=False, http="httptools", loop="uvloop"
    )
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
