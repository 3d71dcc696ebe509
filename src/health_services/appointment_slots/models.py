"""The appointment_slots table."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record

# `timestamptz + interval` depends on the session's zone and is refused in an index; in UTC it does not.
_PERIOD = text(
    "tsrange(slot_datetime AT TIME ZONE 'UTC',"
    " (slot_datetime AT TIME ZONE 'UTC') + make_interval(mins => duration_minutes))"
)
# Of a slot for several, only the booking of the last place changes this, and so writes in indexes (docs/lists.md).
_BOOKABLE = text("is_active AND NOT is_booked")


class AppointmentSlot(Record):
    """A period that a doctor offers to `capacity` patients.

    `booked_count` and `local_date` (the day at the clinic) are kept by triggers; the application's role cannot write
    them.
    """

    __tablename__ = "appointment_slots"
    __table_args__ = (
        Index("ix_appointment_slots_doctor_id", "doctor_id", "slot_datetime"),
        Index("ix_appointment_slots_clinic_id", "clinic_id", "slot_datetime"),
        Index("ix_appointment_slots_slot_datetime", "slot_datetime", "id"),
        Index("ix_appointment_slots_bookable", "slot_datetime", "id", postgresql_where=_BOOKABLE),
        Index(
            "ix_appointment_slots_doctor_id_bookable",
            *("doctor_id", "slot_datetime", "id"),
            postgresql_where=_BOOKABLE,
        ),
        Index(
            "ix_appointment_slots_clinic_id_bookable",
            *("clinic_id", "slot_datetime", "id"),
            postgresql_where=_BOOKABLE,
        ),
        # an infinite period is empty, and would overlap nothing
        CheckConstraint("isfinite(slot_datetime)", name="slot_datetime"),
        CheckConstraint("duration_minutes BETWEEN 5 AND 480", name="duration_minutes"),
        CheckConstraint("capacity BETWEEN 1 AND 1000", name="capacity"),
        CheckConstraint("booked_count BETWEEN 0 AND capacity", name="booked_count"),
        ExcludeConstraint(
            (text("doctor_id"), "="),
            (_PERIOD, "&&"),
            name="ex_appointment_slots_doctor_id_period",
            where=text("is_active"),
            using="gist",
        ),
        # room for the new version of a row that every booking writes
        {"postgresql_with": {"fillfactor": 80}},
    )

    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctors.id"))
    clinic_id: Mapped[int] = mapped_column(ForeignKey("clinics.id"))
    slot_datetime: Mapped[datetime]
    duration_minutes: Mapped[int] = mapped_column(Integer, default=30, server_default=text("30"))
    capacity: Mapped[int] = mapped_column(Integer, default=1, server_default=text("1"))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    booked_count: Mapped[int] = mapped_column(Integer, server_default=text("0"), init=False)
    is_booked: Mapped[bool] = mapped_column(Computed("booked_count >= capacity", persisted=True), init=False)
    local_date: Mapped[date] = mapped_column(server_default=func.current_date(), init=False)
