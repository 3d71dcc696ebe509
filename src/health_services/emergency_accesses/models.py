"""The emergency_accesses table."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base
from health_services.database.sealing import Sealed


class EmergencyAccess(Base):
    """A doctor's access to a patient's record until an instant, and why; policies and `is_treating` heed it."""

    __tablename__ = "emergency_accesses"
    __table_args__ = (Index("ix_emergency_accesses_patient_id", "patient_id", "doctor_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    doctor_id: Mapped[int] = mapped_column(ForeignKey("doctors.id"))
    reason: Mapped[str] = mapped_column(Sealed)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
