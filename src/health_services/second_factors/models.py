"""The tables of second factors."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base
from health_services.database.sealing import Sealed


class TotpAuthenticator(Base):
    """An account's authenticator app (RFC 6238).

    `secret` counts since `confirmed_at`; `next_secret` waits for its first code. `last_step` is the latest period of 30
    seconds whose code was used: no code of it, or of an earlier one, is taken again.
    """

    __tablename__ = "totp_authenticators"
    __table_args__ = (CheckConstraint("(secret IS NULL) = (confirmed_at IS NULL)", name="confirmed"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    secret: Mapped[str | None] = mapped_column(Sealed)
    next_secret: Mapped[str | None] = mapped_column(Sealed)
    last_step: Mapped[int] = mapped_column(server_default=text("0"))
    confirmed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RecoveryCode(Base):
    """A code for whoever has lost everything else, by its hash; it works once."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    code_hash: Mapped[bytes] = mapped_column(primary_key=True)
    used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Passkey(Base):
    """The public half of a key pair that some device keeps for this account (WebAuthn).

    `sign_count` never falls: a device that counts, and is behind, is a copy. `is_backed_up`: it is in somebody's cloud
    too, so it is not bound to one device.
    """

    __tablename__ = "passkeys"
    __table_args__ = (
        Index("ix_passkeys_user_id", "user_id"),
        Index("ix_passkeys_credential_id", "credential_id", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    credential_id: Mapped[bytes]
    public_key: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(server_default=text("0"))
    transports: Mapped[list[str]] = mapped_column(ARRAY(String), server_default=text("'{}'"))
    is_backed_up: Mapped[bool] = mapped_column(server_default=text("false"))
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
