"""The tables of clinics and of the people who work at their desks."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base, Record


class Clinic(Record):
    """A place with one time zone: its days begin and end there."""

    __tablename__ = "clinics"
    __table_args__ = (
        CheckConstraint("name <> ''", name="name"),
        Index("ix_clinics_city", text("lower(city)"), "id"),
    )

    name: Mapped[str]
    address: Mapped[str | None] = mapped_column(default=None)
    phone: Mapped[str | None] = mapped_column(default=None)
    email: Mapped[str | None] = mapped_column(default=None)
    city: Mapped[str | None] = mapped_column(default=None)
    state: Mapped[str | None] = mapped_column(default=None)
    zip_code: Mapped[str | None] = mapped_column(default=None)
    time_zone: Mapped[str] = mapped_column(default="UTC", server_default=text("'UTC'"))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))


class ClinicStaff(Base):
    """Who works at which clinic's desk."""

    __tablename__ = "clinic_staff"
    __table_args__ = (Index("ix_clinic_staff_user_id", "user_id"),)

    clinic_id: Mapped[int] = mapped_column(ForeignKey("clinics.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
