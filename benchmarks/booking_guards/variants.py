"""The ways to take a place: what each changes in the migrated schema, and the statements of one booking."""

import re
from dataclasses import dataclass

import asyncpg

# Both are read from the migrated database, so that what is measured is what is shipped.
GUARDS = ("appointments_keep_counters()", "doctor_days_count(bigint, date, integer)")
_TABLES = r"(?<![.\w])(appointments|appointment_slots|doctor_days_count|doctor_days|doctors)\b"

INSERT = """INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)
VALUES (:patient, :doctor, :clinic, :slot)"""

_TAKE_PLACE = """UPDATE appointment_slots SET booked_count = booked_count + 1, updated_at = now()
    WHERE id = :slot AND doctor_id = :doctor AND clinic_id = :clinic
      AND is_active AND booked_count < capacity
    RETURNING id, doctor_id, clinic_id, local_date"""
_COUNT_DAY = """INSERT INTO doctor_days AS d (doctor_id, local_date, booked_count, max_patients)
    SELECT p.doctor_id, p.local_date, 1, x.max_patients_per_day FROM place p JOIN doctors x ON x.id = p.doctor_id
    ON CONFLICT (doctor_id, local_date) DO UPDATE SET booked_count = d.booked_count + 1
    RETURNING 1"""
_WRITE = """INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)
SELECT :patient, doctor_id, clinic_id, id FROM place"""

SLOT_ONLY = f"WITH place AS (\n    {_TAKE_PLACE}\n)\n{_WRITE}"
SLOT_AND_DAY = f"WITH place AS (\n    {_TAKE_PLACE}\n), day AS (\n    {_COUNT_DAY}\n)\n{_WRITE}"
LOOK = """SELECT booked_count, capacity, is_active FROM appointment_slots
WHERE id = :slot AND doctor_id = :doctor AND clinic_id = :clinic FOR UPDATE"""

# The application's own statement (appointments/repository.py), without the values that do not matter here.
APPLICATION = """WITH place AS (
    SELECT s.id, s.doctor_id, s.clinic_id, s.slot_datetime, s.duration_minutes
    FROM appointment_slots s
    JOIN doctors d ON d.id = s.doctor_id AND d.is_active
    JOIN clinics c ON c.id = s.clinic_id AND c.is_active
    JOIN patients p ON p.id = :patient AND p.is_active
    WHERE s.id = :slot AND s.doctor_id = :doctor AND s.clinic_id = :clinic
      AND s.is_active AND s.booked_count < s.capacity AND s.slot_datetime > now()
), made AS (
    INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)
    SELECT :patient, doctor_id, clinic_id, id FROM place RETURNING *
)
SELECT made.*, place.slot_datetime, place.duration_minutes FROM made CROSS JOIN place"""

CANCEL = """UPDATE appointments SET status = 'cancelled', cancelled_at = now()
WHERE slot_id = :slot AND patient_id = :patient AND status IN ('pending', 'confirmed')"""


@dataclass(frozen=True)
class Variant:
    """One way; `booking` is one transaction, a statement for each round trip between BEGIN and COMMIT."""

    key: str
    title: str
    booking: tuple[str, ...]
    trigger: str = "shipped"
    counts_days: bool = True

    @property
    def database(self) -> str:
        """Each way has a copy of the same data to itself."""
        return f"guards_{self.key}"


VARIANTS = (
    Variant("a", "AFTER trigger as shipped, plain INSERT", (INSERT,)),
    Variant("a_app", "AFTER trigger as shipped, the application's statement", (APPLICATION,)),
    Variant("b", "AFTER trigger, schema-qualified names instead of SET search_path", (INSERT,), "qualified"),
    Variant("a_last", "AFTER trigger, named to run after the foreign keys' checks", (INSERT,), "last"),
    Variant("c", "BEFORE trigger", (INSERT,), "before"),
    Variant("d", "one statement, slot only, no trigger", (SLOT_ONLY,), "none", counts_days=False),
    Variant("e", "one statement, slot and day, no trigger", (SLOT_AND_DAY,), "none"),
    Variant("f", "SELECT … FOR UPDATE, then one writing statement, no trigger", (LOOK, SLOT_AND_DAY), "none"),
)
BASELINE = "d"


def numbered(statement: str) -> str:
    """The statement with $1 to $4 for slot, doctor, clinic and patient."""
    for number, name in enumerate(("slot", "doctor", "clinic", "patient"), 1):
        statement = re.sub(rf"(?<!:):{name}\b", f"${number}::bigint", statement)
    return statement


async def change_schema(owner: asyncpg.Connection, variant: Variant) -> None:
    """Turn the shipped guard of a copy into the variant's."""
    if variant.trigger == "shipped":
        return
    if variant.trigger == "none":
        await owner.execute(
            'DROP TRIGGER "00_appointments_keep_counters" ON appointments;'
            "GRANT UPDATE (booked_count) ON appointment_slots TO health_app;"
            "GRANT INSERT, UPDATE ON doctor_days TO health_app"
        )
        return
    if variant.trigger == "last":  # triggers run in the order of their names; the system's begin with RI_
        await owner.execute(
            'ALTER TRIGGER "00_appointments_keep_counters" ON appointments RENAME TO appointments_keep_counters'
        )
        return
    if variant.trigger == "qualified":
        for guard in GUARDS:
            source = re.sub(r"\n SET search_path TO [^\n]*", "", await _source(owner, guard))
            await owner.execute(re.sub(_TABLES, r"public.\1", source))
        return
    await owner.execute((await _source(owner, GUARDS[0])).replace("RETURN NULL", "RETURN place"))
    await owner.execute(
        """DROP TRIGGER "00_appointments_keep_counters" ON appointments;
           CREATE TRIGGER appointments_keep_counters
           BEFORE INSERT OR DELETE OR UPDATE OF status, slot_id, doctor_id, clinic_id, patient_id ON appointments
           FOR EACH ROW EXECUTE FUNCTION appointments_keep_counters()"""
    )


async def _source(owner: asyncpg.Connection, function: str) -> str:
    return str(await owner.fetchval("SELECT pg_get_functiondef($1::text::regprocedure)", function))
