"""The tables of doctors and of their days."""

from datetime import date

from sqlalchemy import CheckConstraint, FetchedValue, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base, Record


class Doctor(Record):
    """A practitioner at one clinic, with a limit of patients for each of his days.

    `name` is his account's, kept by triggers: the directory is public, accounts are not.
    """

    __tablename__ = "doctors"
    __table_args__ = (
        Index("ix_doctors_clinic_id", "clinic_id", "id"),
        Index("ix_doctors_user_id", "user_id", unique=True),
        Index("ix_doctors_license_number", "license_number", unique=True),
        Index("ix_doctors_specialty", text("lower(specialty)"), "id"),
        CheckConstraint("experience_years BETWEEN 0 AND 80", name="experience_years"),
        CheckConstraint("max_patients_per_day BETWEEN 1 AND 1000", name="max_patients_per_day"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    clinic_id: Mapped[int] = mapped_column(ForeignKey("clinics.id"))
    specialty: Mapped[str]
    name: Mapped[str] = mapped_column(server_default=text("''"), server_onupdate=FetchedValue(), init=False)
    license_number: Mapped[str]
    qualifications: Mapped[str | None] = mapped_column(default=None)
    experience_years: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    max_patients_per_day: Mapped[int] = mapped_column(Integer, default=20, server_default=text("20"))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))


class DoctorDay(Base):
    """How many appointments a doctor holds on one clinic-local day; kept by a trigger, never written by us.

    `max_patients` is the limit in force on that day, so that one CHECK refuses both one appointment too many and a
    limit that is lowered too far. No person is in it: row-level security cannot hide a row from the count.
    """

    __tablename__ = "doctor_days"
    __table_args__ = (
        CheckConstraint("booked_count >= 0", name="booked_count"),
        CheckConstraint("booked_count <= max_patients", name="max_patients"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctors.id"), primary_key=True)
    local_date: Mapped[date] = mapped_column(primary_key=True)
    booked_count: Mapped[int] = mapped_column(Integer)
    max_patients: Mapped[int] = mapped_column(Integer)
