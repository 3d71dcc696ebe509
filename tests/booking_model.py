"""Booking as a model of dictionaries: what the system must answer, derived from its rules and not from its code."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

LIVE = ("pending", "confirmed")

# A status and an error's code; None where the request succeeds.
Expected = tuple[int, str | None]

NOT_FOUND: Expected = (404, "RESOURCE_NOT_FOUND")
FORBIDDEN: Expected = (403, "AUTHORIZATION_ERROR")
INVALID: Expected = (400, "VALIDATION_ERROR")
CONFLICT: Expected = (409, "CONFLICT")
UNAVAILABLE: Expected = (409, "SLOT_UNAVAILABLE")
DUPLICATE: Expected = (409, "DUPLICATE_BOOKING")
KEY_REUSED: Expected = (422, "IDEMPOTENCY_KEY_REUSED")
OK: Expected = (200, None)
CREATED: Expected = (201, None)


@dataclass(frozen=True)
class Actor:
    """Who calls; ids are 0 where he has none."""

    role: str
    user: int
    patient: int = 0
    doctor: int = 0
    clinic: int = 0

    def runs(self, clinic: int) -> bool:
        return self.role == "admin" or (self.role == "staff" and self.clinic == clinic)

    def is_concerned(self, patient: int, slot: "Slot") -> bool:
        return self.patient == patient or self.doctor == slot.doctor or self.runs(slot.clinic)


@dataclass
class Clinic:
    zone: str
    active: bool = True


@dataclass
class Doctor:
    clinic: int
    limit: int
    active: bool = True


@dataclass(frozen=True)
class Slot:
    doctor: int
    clinic: int
    start: datetime
    minutes: int
    capacity: int
    active: bool = True

    def overlaps(self, other: "Slot") -> bool:
        ends, others_end = (s.start + timedelta(minutes=s.minutes) for s in (self, other))
        return self.doctor == other.doctor and self.start < others_end and other.start < ends


@dataclass(frozen=True)
class Booking:
    patient: int
    doctor: int
    clinic: int
    slot: int


@dataclass
class Appointment:
    patient: int
    slot: int
    status: str = "pending"


@dataclass
class Model:
    """The whole state; each method predicts the answer to one request, and changes the state if it succeeds."""

    now: datetime
    clinics: dict[int, Clinic] = field(default_factory=dict)
    doctors: dict[int, Doctor] = field(default_factory=dict)
    patients: dict[int, bool] = field(default_factory=dict)
    slots: dict[int, Slot] = field(default_factory=dict)
    appointments: dict[int, Appointment] = field(default_factory=dict)

    def held(self, slot: int) -> int:
        return sum(a.slot == slot and a.status != "cancelled" for a in self.appointments.values())

    def is_live(self, slot: int, patient: int | None = None) -> bool:
        return any(
            a.slot == slot and a.status in LIVE and patient in {None, a.patient} for a in self.appointments.values()
        )

    def day(self, slot: Slot) -> date:
        return slot.start.astimezone(ZoneInfo(self.clinics[slot.clinic].zone)).date()

    def held_on(self, doctor: int, day: date) -> int:
        ids = [i for i, slot in self.slots.items() if slot.doctor == doctor and self.day(slot) == day]
        return sum(self.held(slot) for slot in ids)

    def busiest(self, doctor: int) -> int:
        """How many appointments the doctor's fullest day holds."""
        return max((self.held_on(doctor, self.day(s)) for s in self.slots.values() if s.doctor == doctor), default=0)

    def is_day_full(self, slot: Slot) -> bool:
        return self.held_on(slot.doctor, self.day(slot)) >= self.doctors[slot.doctor].limit

    def bookable(self) -> list[int]:
        found = [
            (slot.start, i)
            for i, slot in self.slots.items()
            if slot.active
            and slot.start > self.now
            and self.held(i) < slot.capacity
            and self.doctors[slot.doctor].active
            and self.clinics[slot.clinic].active
        ]
        return [i for _, i in sorted(found)]

    def book(self, actor: Actor, wanted: Booking) -> Expected:
        slot = self.slots.get(wanted.slot)
        if slot is None or wanted.patient not in self.patients:
            return NOT_FOUND
        is_own = actor.patient == wanted.patient or actor.doctor == wanted.doctor
        if not (is_own or actor.runs(wanted.clinic)):
            return FORBIDDEN
        if (slot.doctor, slot.clinic) != (wanted.doctor, wanted.clinic):
            return INVALID
        if not self.patients[wanted.patient]:
            return CONFLICT
        if self.is_live(wanted.slot, wanted.patient):
            return DUPLICATE
        if wanted.slot not in self.bookable() or self.is_day_full(slot):
            return UNAVAILABLE
        return CREATED

    def cancel(self, actor: Actor, appointment_id: int) -> Expected:
        appointment = self.appointments.get(appointment_id)
        if appointment is None:
            return NOT_FOUND
        slot = self.slots[appointment.slot]
        is_clinic = actor.doctor == slot.doctor or actor.runs(slot.clinic)
        if not (is_clinic or actor.patient == appointment.patient):
            return FORBIDDEN
        if appointment.status not in LIVE or (slot.start <= self.now and not is_clinic):
            return CONFLICT
        appointment.status = "cancelled"
        return OK

    def revive(self, appointment_id: int) -> str | None:
        """The constraint that keeps a cancelled appointment from being made live again by SQL; None if none does."""
        appointment = self.appointments[appointment_id]
        slot = self.slots[appointment.slot]
        if appointment.status != "cancelled":
            appointment.status = "pending"
            return None
        if self.is_live(appointment.slot, appointment.patient):
            return "ix_appointments_slot_id_patient_id"
        if self.held(appointment.slot) >= slot.capacity:
            return "ck_appointment_slots_booked_count"
        if not slot.active:
            return "ck_appointments_slot_active"
        if self.is_day_full(slot):
            return "ck_doctor_days_max_patients"
        appointment.status = "pending"
        return None

    def create_slot(self, actor: Actor, slot: Slot) -> Expected:
        if not (actor.doctor == slot.doctor or actor.runs(slot.clinic)):
            return FORBIDDEN
        doctor = self.doctors[slot.doctor]
        if doctor.clinic != slot.clinic or slot.start <= self.now:
            return INVALID
        if not (doctor.active and self.clinics[doctor.clinic].active):
            return CONFLICT
        if any(other.active and other.overlaps(slot) for other in self.slots.values()):
            return CONFLICT
        return CREATED

    def delete_slot(self, actor: Actor, slot_id: int) -> Expected:
        if actor.role not in {"staff", "admin"}:
            return FORBIDDEN
        slot = self.slots.get(slot_id)
        if slot is None:
            return NOT_FOUND
        if not actor.runs(slot.clinic):
            return FORBIDDEN
        if not slot.active:
            return NOT_FOUND
        if self.is_live(slot_id):
            return CONFLICT
        self.slots[slot_id] = replace(slot, active=False)
        return OK

    def limit(self, doctor_id: int, limit: int) -> Expected:
        if limit < self.doctors[doctor_id].limit and self.busiest(doctor_id) > limit:
            return CONFLICT
        self.doctors[doctor_id].limit = limit
        return OK

    def move_zone(self, clinic_id: int, zone: str) -> Expected:
        clinic = self.clinics[clinic_id]
        if zone != clinic.zone and any(self.held(i) for i, slot in self.slots.items() if slot.clinic == clinic_id):
            return CONFLICT
        clinic.zone = zone
        return OK
