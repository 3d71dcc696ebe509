"""Building the demonstration region: all of it or nothing, and never unasked beside other data."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.auth.passwords import Passwords
from health_services.database.engine import Database
from health_services.demo.people import Lead
from health_services.demo.plan import Region, draw
from health_services.demo.rows import write
from health_services.errors import OperatorError
from health_services.users.models import Role

# Any number will do: two that build at once go one after the other.
_LOCK = 6_021_407_600_000_023
_COUNTS = text(
    """SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM clinics) AS clinics,
              (SELECT count(*) FROM doctors) AS doctors, (SELECT count(*) FROM patients) AS patients,
              (SELECT count(*) FROM appointment_slots) AS slots, (SELECT count(*) FROM appointments) AS appointments"""
)
_TAKEN = text(
    """SELECT email AS what FROM users WHERE email = ANY(CAST(:emails AS varchar[]))
       UNION ALL
       SELECT license_number FROM doctors WHERE license_number = ANY(CAST(:licenses AS varchar[]))
       ORDER BY what"""
)


@dataclass(frozen=True)
class Login:
    """Somebody of the region who can sign in; for demonstration only."""

    role: str
    name: str
    email: str
    password: str


LOGINS = (
    Login("patient", "Maya Torres", "demo.patient@example.org", "river-patient-72"),
    Login("doctor", "Samuel Okonkwo", "demo.doctor@example.org", "river-doctor-72"),
    Login("staff", "Ingrid Sørensen", "demo.staff@example.org", "river-staff-72"),
    Login("admin", "Alex Morgan", "demo.admin@example.org", "river-admin-72"),
)


class DatabaseNotEmpty(OperatorError):
    """The database holds something already, and nobody said that the region may be added to it."""


def _unheard(_what: str, _done: int, _total: int) -> None:
    """The progress that nobody asked for."""


async def build(
    database: Database,
    passwords: Passwords,
    *,
    seed: int,
    now: datetime,
    force: bool = False,
    progress: Callable[[str, int, int], None] = _unheard,
) -> list[Login]:
    """Write the region of `seed` around `now` in one transaction; the answer is the only ones who can sign in.

    `progress` hears what is being written, and how many rows of how many are.
    Raises DatabaseNotEmpty unless `force`, and OperatorError where the region would collide with what is there.
    """
    async with database.reading() as session:  # refuse before the work, and once more when nobody can come between
        await _refuse_other_data(session, force=force)
    region = draw(seed, now, {Role(login.role): Lead(login.name, login.email) for login in LOGINS})
    progress("Passwords", 0, region.rows)
    made = await asyncio.gather(*(passwords.hash(login.password) for login in LOGINS))
    hashes = {login.email: password_hash for login, password_hash in zip(LOGINS, made, strict=True)}
    async with database.writing() as session, session.begin():
        # An operator's command, not a request: what takes longer on a slow machine may take longer.
        await session.execute(text("SET LOCAL statement_timeout = 0"))
        await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        await _refuse_other_data(session, force=force)
        await _refuse_collisions(session, region)
        await write(session, region, hashes, progress)
    return list(LOGINS)


async def _refuse_other_data(session: AsyncSession, *, force: bool) -> None:
    counts = (await session.execute(_COUNTS)).mappings().one()
    found = [f"{count} {what if count != 1 else what[:-1]}" for what, count in counts.items() if count]
    emails = [login.email for login in LOGINS]
    is_here = await session.scalar(_TAKEN, {"emails": emails, "licenses": []})
    if found and not force:
        advice = "the demonstration region is among them." if is_here else "--force adds the region anyway."
        raise DatabaseNotEmpty(f"This database is not empty ({', '.join(found)}); nothing was changed: {advice}")
    if is_here:
        raise OperatorError(
            f"The demonstration region is in this database already ({is_here} exists) and "
            "cannot be added twice. Use another database to build it anew."
        )


async def _refuse_collisions(session: AsyncSession, region: Region) -> None:
    """A colliding e-mail address or licence number would fail the transaction later, with a poorer sentence."""
    emails = [person.email for person in region.people if person.email]
    licenses = [doctor.license_number for doctor in region.doctors]
    taken = (await session.execute(_TAKEN, {"emails": emails, "licenses": licenses})).scalars().all()
    if taken:
        raise OperatorError(
            f"The region would use {taken[0]}, which is taken in this database; nothing was changed. "
            "Another --seed makes other people."
        )
