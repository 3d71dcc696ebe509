"""The appointments table and what an appointment can become."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Enum, FetchedValue, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record
from health_services.database.sealing import Sealed
from health_services.errors import ConflictException


class AppointmentStatus(StrEnum):
    """Where an appointment stands; live ones are still to take place, all but cancelled ones keep their place."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    NO_SHOW = "no_show"


LIVE = (AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED)
_IS_LIVE = text("status IN ('pending', 'confirmed')")

status_type = Enum(
    AppointmentStatus, name="appointment_status", values_callable=lambda statuses: [s.value for s in statuses]
)


class Appointment(Record):
    """A patient's place in a slot.

    `is_agreed`: the patient, staff or an administrator booked or confirmed it; only such an appointment gives the
    doctor sight of the patient's record. `revision` is raised by the database with each change that others are told
    of: the SEQUENCE of the calendar entry.
    """

    __tablename__ = "appointments"
    __table_args__ = (
        Index("ix_appointments_patient_id", "patient_id", "id"),
        Index("ix_appointments_doctor_id", "doctor_id", "id"),
        Index("ix_appointments_clinic_id", "clinic_id", "id"),
        Index("ix_appointments_live", "id", postgresql_where=_IS_LIVE),
        Index("ix_appointments_doctor_id_live", "doctor_id", "id", postgresql_where=_IS_LIVE),
        Index("ix_appointments_clinic_id_live", "clinic_id", "id", postgresql_where=_IS_LIVE),
        Index("ix_appointments_no_show", "id", postgresql_where=text("status = 'no_show'")),
        Index("ix_appointments_slot_id", "slot_id"),
        Index(
            "ix_appointments_slot_id_patient_id",
            *("slot_id", "patient_id"),
            unique=True,
            postgresql_where=_IS_LIVE,
        ),
        {"postgresql_with": {"fillfactor": 90}},
    )

    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctors.id"))
    clinic_id: Mapped[int] = mapped_column(ForeignKey("clinics.id"))
    slot_id: Mapped[int] = mapped_column(ForeignKey("appointment_slots.id"))
    status: Mapped[AppointmentStatus] = mapped_column(
        status_type, default=AppointmentStatus.PENDING, server_default=text("'pending'")
    )
    reason_for_visit: Mapped[str | None] = mapped_column(Sealed, default=None)
    notes: Mapped[str | None] = mapped_column(Sealed, default=None)
    cancelled_at: Mapped[datetime | None] = mapped_column(default=None)
    cancelled_reason: Mapped[str | None] = mapped_column(default=None)
    booked_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), default=None)
    is_agreed: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    revision: Mapped[int] = mapped_column(Integer, server_default=text("0"), server_onupdate=FetchedValue(), init=False)

    def cancel(self, now: datetime, reason: str | None) -> None:
        """Give the place back; raises ConflictException for an appointment that is not live."""
        if self.status not in LIVE:
            raise ConflictException(f"This appointment is {self.status.replace('_', '-')} and cannot be cancelled.")
        self.status = AppointmentStatus.CANCELLED
        self.cancelled_at = now
        self.cancelled_reason = reason
