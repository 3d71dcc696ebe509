"""The users table."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Enum, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record


class Role(StrEnum):
    """What an account is for; the row in the database counts, never the claim in a token."""

    PATIENT = "patient"
    DOCTOR = "doctor"
    STAFF = "staff"
    ADMIN = "admin"


role_type = Enum(Role, name="user_role", values_callable=lambda roles: [role.value for role in roles])


class User(Record):
    """A person; without `email` and `password_hash` one who has no login (yet), with `erased_at` one who is forgotten.

    Changing the password, the role or `is_active` ends the account's sessions: a trigger sees to it.
    """

    __tablename__ = "users"
    __table_args__ = (
        Index("ix_users_email", "email", unique=True),
        Index("ix_users_mobile_no", "mobile_no"),
        Index("ix_users_role", "role", "id", postgresql_where=text("role <> 'patient'")),
        Index("ix_users_inactive", "id", postgresql_where=text("NOT is_active")),
        Index("ix_users_name", text("to_tsvector('simple'::regconfig, name)"), postgresql_using="gin"),
        CheckConstraint("email = lower(email)", name="email_lower"),
        CheckConstraint("name <> ''", name="name"),
        CheckConstraint(
            "erased_at IS NULL OR NOT is_active AND name = 'Erased person' AND email IS NULL "
            "AND password_hash IS NULL AND mobile_no IS NULL AND address IS NULL",
            name="erased",
        ),
        Index("ix_users_erased_at", "erased_at", postgresql_where=text("erased_at IS NOT NULL")),
    )

    name: Mapped[str]
    email: Mapped[str | None] = mapped_column(default=None)
    password_hash: Mapped[str | None] = mapped_column(default=None)
    role: Mapped[Role] = mapped_column(role_type, default=Role.PATIENT, server_default=text("'patient'"))
    is_verified: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    last_login: Mapped[datetime | None] = mapped_column(default=None)
    mobile_no: Mapped[str | None] = mapped_column(default=None)
    address: Mapped[str | None] = mapped_column(default=None)
    erased_at: Mapped[datetime | None] = mapped_column(default=None)
