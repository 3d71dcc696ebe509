"""The patients table."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record
from health_services.database.sealing import Sealed


class BloodGroup(StrEnum):
    """The eight groups of ABO and Rh."""

    A_POSITIVE = "A+"
    A_NEGATIVE = "A-"
    B_POSITIVE = "B+"
    B_NEGATIVE = "B-"
    AB_POSITIVE = "AB+"
    AB_NEGATIVE = "AB-"
    O_POSITIVE = "O+"
    O_NEGATIVE = "O-"


class Sex(StrEnum):
    """Administrative sex, as FHIR has it (administrative-gender)."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"
    UNKNOWN = "unknown"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class Patient(Record):
    """What is known of a person as a patient; name and contact stand in users.

    With `erased_at` nothing is known any more, and nothing can be written.
    """

    __tablename__ = "patients"
    __table_args__ = (
        Index("ix_patients_user_id", "user_id", unique=True),
        CheckConstraint(_one_of("blood_group", BloodGroup), name="blood_group"),
        CheckConstraint(_one_of("sex", Sex), name="sex"),
        CheckConstraint(
            "erased_at IS NULL OR NOT is_active AND date_of_birth IS NULL AND blood_group IS NULL "
            "AND allergies IS NULL AND emergency_contact IS NULL AND sex IS NULL AND preferred_language IS NULL",
            name="erased",
        ),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    date_of_birth: Mapped[date | None] = mapped_column(default=None)
    blood_group: Mapped[str | None] = mapped_column(default=None)
    allergies: Mapped[str | None] = mapped_column(Sealed, default=None)
    emergency_contact: Mapped[str | None] = mapped_column(Sealed, default=None)
    sex: Mapped[str | None] = mapped_column(default=None)
    preferred_language: Mapped[str | None] = mapped_column(default=None)
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    erased_at: Mapped[datetime | None] = mapped_column(default=None)
    erased_reason: Mapped[str | None] = mapped_column(Sealed, default=None)
