"""SQL of reading everything about a person, and of forgetting him; made of the one list."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.idempotency import LIFETIME, SHORTEST_ANSWER
from health_services.database.sealing import opened, vault_of
from health_services.privacy.holding import Emptied, Holding, Kept

# So many rows are held at once while everything is written down.
AT_ONCE = 500

_PERSON = text(
    """SELECT u.id AS user_id, p.id AS patient_id, n.locale, p.preferred_language
       FROM patients p JOIN users u ON u.id = p.user_id LEFT JOIN notification_preferences n ON n.user_id = u.id
       WHERE p.id = :patient_id"""
)
_VISITS = text(
    "SELECT * FROM appointment_details WHERE patient_id = :patient_id AND is_active ORDER BY starts_at, appointment_id"
)
# The order of locks is that of planning reminders (account, appointments) and of booking (appointment, patient, slot).
# Only the patient's row keeps foreign keys waiting: who books for him at this moment is done before, or is refused.
_LOCK_ACCOUNT = text("SELECT role::text AS role, erased_at FROM users WHERE id = :user_id FOR NO KEY UPDATE")
_LOCK_VISITS = text("SELECT id FROM appointments WHERE patient_id = :patient_id ORDER BY id FOR NO KEY UPDATE")
_LOCK_RECORD = text("SELECT id FROM patients WHERE id = :patient_id FOR UPDATE")
# Whoever takes or gives back places in several slots has all of them first, and then goes by days (docs/booking.md).
_LOCK_SLOTS = text(
    """SELECT id FROM appointment_slots
       WHERE slot_datetime > :now AND id IN (
           SELECT slot_id FROM appointments WHERE patient_id = :patient_id AND status IN ('pending', 'confirmed'))
       ORDER BY id FOR NO KEY UPDATE"""
)
_AHEAD = text(
    """SELECT a.id FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
       WHERE a.patient_id = :patient_id AND a.status IN ('pending', 'confirmed') AND s.slot_datetime > :now
       ORDER BY s.doctor_id, s.local_date, a.id"""
)
# An answer that somebody else may ask for again can show the person. Only its key opens it, so which one it is cannot
# be seen: those of everybody who had to do with him. The requests stay known, and are not carried out twice.
_FORGET_ANSWERS = text(
    """UPDATE idempotency_keys k SET answer = decode(repeat('00', :bytes), 'hex')
       WHERE k.user_id IN (
           SELECT l.user_id FROM audit_log l
           WHERE l.at > now() - CAST(:lifetime AS interval)
             AND (l.patient_ids @> ARRAY[CAST(:patient_id AS bigint)]
                  OR l.user_ids @> ARRAY[CAST(:user_id AS bigint)]))"""
)
_ERASED = text(
    """SELECT u.id AS user_id, p.id AS patient_id FROM users u JOIN patients p ON p.user_id = u.id
       WHERE u.erased_at > now() - CAST(:within AS interval) ORDER BY u.erased_at"""
)
_OF_ERASED = text(
    """SELECT n.id FROM notifications n JOIN users u ON u.id = n.user_id
       WHERE n.id = ANY (CAST(:ids AS bigint[])) AND u.erased_at IS NOT NULL"""
)


@dataclass(frozen=True)
class Person:
    """A patient with his account."""

    user_id: int
    patient_id: int


def _reading(holding: Holding) -> TextClause:
    values = [f"t.{column}" for column in holding.shown]
    values += [f"{expression} AS {name}" for name, expression in holding.computed.items()]
    return text(
        f"SELECT {', '.join(values)} FROM {holding.table} t WHERE {holding.whose} ORDER BY t.{holding.order}"  # noqa: S608
    )


def _forgetting(holding: Holding) -> TextClause:
    erasure = holding.erasure
    if isinstance(erasure, Emptied):
        changes = ", ".join(f"{column} = {value}" for column, value in erasure.values.items())
        return text(f"UPDATE {holding.table} t SET {changes} WHERE {holding.whose} AND {erasure.unless_done}")  # noqa: S608
    return text(f"DELETE FROM {holding.table} t WHERE {holding.whose}")  # noqa: S608 - only texts of the list


class PrivacyRepository:
    """Everything about one person; row-level security must let it all be seen (`as_service`)."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def person(self, patient_id: int) -> AnyRow | None:
        """The `user_id` of a patient, and which language he reads (`locale`, `preferred_language`)."""
        return (await self._session.execute(_PERSON, {"patient_id": patient_id})).one_or_none()

    async def rows(self, holding: Holding, person: Person) -> AsyncIterator[Sequence[AnyRow]]:
        """What of this table he is given, in the clear, some rows at a time."""
        result = await self._session.stream(_reading(holding), vars(person))
        async for rows in result.partitions(AT_ONCE):
            yield opened(self._session, holding.table, holding.sealed, rows)

    async def visits(self, person: Person) -> Sequence[AnyRow]:
        """His appointments as calendars show them, by start; without those entered in error."""
        return (await self._session.execute(_VISITS, {"patient_id": person.patient_id})).all()

    async def lock(self, person: Person) -> AnyRow:
        """Let nobody else change him, or book for him, until the transaction ends; his `role` and `erased_at`."""
        account = (await self._session.execute(_LOCK_ACCOUNT, {"user_id": person.user_id})).one()
        await self._session.execute(_LOCK_VISITS, {"patient_id": person.patient_id})
        await self._session.execute(_LOCK_RECORD, {"patient_id": person.patient_id})
        return account

    async def visits_ahead(self, person: Person, now: datetime) -> Sequence[int]:
        """His live appointments that have not begun, in the order in which they are to be cancelled; slots locked."""
        values = {"patient_id": person.patient_id, "now": now}
        await self._session.execute(_LOCK_SLOTS, values)
        return (await self._session.scalars(_AHEAD, values)).all()

    async def forget(self, holding: Holding, person: Person, now: datetime, reason: str | None = None) -> int:
        """Empty or delete his rows of this table; how many there were. `reason` is written where there is none yet."""
        if isinstance(holding.erasure, Kept):
            return 0
        sealed = reason and vault_of(self._session).seal("patients", "erased_reason", person.patient_id, reason)
        values = {**vars(person), "now": now, "reason": sealed}
        result = await self._session.execute(_forgetting(holding), values)
        return int(getattr(result, "rowcount", 0))

    async def forget_answers(self, person: Person) -> None:
        """Make unreadable what is kept to answer others again who had to do with him."""
        values = {**vars(person), "lifetime": LIFETIME, "bytes": SHORTEST_ANSWER}
        await self._session.execute(_FORGET_ANSWERS, values)

    async def erased(self, within: timedelta) -> Sequence[Person]:
        """Who was erased not longer ago than this."""
        rows = (await self._session.execute(_ERASED, {"within": within})).all()
        return [Person(row.user_id, row.patient_id) for row in rows]

    async def now(self) -> datetime:
        """The database's clock, which all workers share."""
        return (await self._session.execute(select(func.now()))).scalar_one()

    async def of_erased(self, notification_ids: Sequence[int]) -> Sequence[int]:
        """Which of these messages were to people who are erased."""
        return (await self._session.scalars(_OF_ERASED, {"ids": list(notification_ids)})).all()
