"""What binds every writer, psql included: counters kept by triggers, and the least rights for the application.

docs/booking.md tells what each guard is for and in which order it locks.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# Runs after the row is in, so that a booking waits for another booking or cancelling of the same patient and slot
# (at the unique index) before it holds the slot: appointment, slot, doctor, doctor's day is the order everywhere.
KEEP_COUNTERS = """
CREATE FUNCTION appointments_keep_counters() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    held boolean := TG_OP <> 'INSERT' AND OLD.status <> 'cancelled';
    holds boolean := TG_OP <> 'DELETE' AND NEW.status <> 'cancelled';
    change integer := holds::integer - held::integer;
    revives boolean := TG_OP = 'UPDATE' AND OLD.status IN ('completed', 'no_show')
                       AND NEW.status IN ('pending', 'confirmed');
    place appointments;
    slot appointment_slots;
BEGIN
    IF TG_OP = 'DELETE' THEN place := OLD; ELSE place := NEW; END IF;
    IF TG_OP = 'UPDATE' AND (OLD.slot_id, OLD.doctor_id, OLD.clinic_id, OLD.patient_id)
            IS DISTINCT FROM (NEW.slot_id, NEW.doctor_id, NEW.clinic_id, NEW.patient_id) THEN
        RAISE EXCEPTION 'an appointment keeps its slot, doctor, clinic and patient'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_appointments_slot_fixed';
    END IF;
    IF change = 0 AND TG_OP <> 'INSERT' AND NOT revives THEN
        RETURN NULL;
    END IF;
    UPDATE appointment_slots SET booked_count = booked_count + change, updated_at = now()
        WHERE id = place.slot_id RETURNING * INTO slot;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such slot'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_appointments_slot_id';
    END IF;
    IF (slot.doctor_id, slot.clinic_id) IS DISTINCT FROM (place.doctor_id, place.clinic_id) AND TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'the slot belongs to another doctor or clinic'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_appointments_slot_owner';
    END IF;
    IF (change > 0 OR revives) AND NOT slot.is_active THEN
        RAISE EXCEPTION 'the slot is not active'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_appointments_slot_active';
    END IF;
    IF change <> 0 THEN
        PERFORM doctor_days_count(slot.doctor_id, slot.local_date, change);
    END IF;
    RETURN NULL;
END $$"""

# The doctor's row is locked only for the first appointment of a day: whoever changes the limit at that moment waits,
# or has finished and is seen; from then on the day's own row carries the limit.
COUNT_DAY = """
CREATE FUNCTION doctor_days_count(doctor bigint, day date, change integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    day_limit integer;
BEGIN
    UPDATE doctor_days SET booked_count = booked_count + change WHERE doctor_id = doctor AND local_date = day;
    IF NOT FOUND THEN
        SELECT max_patients_per_day INTO day_limit FROM doctors WHERE id = doctor FOR SHARE;
        INSERT INTO doctor_days AS d (doctor_id, local_date, booked_count, max_patients)
            VALUES (doctor, day, change, day_limit)
            ON CONFLICT (doctor_id, local_date) DO UPDATE SET booked_count = d.booked_count + change;
    END IF;
END $$"""

# Some guards look for rows that others have just made. A snapshot taken before would hide them, so these guards work
# at the isolation level at which every statement sees what is committed, and refuse any other.
READ_COMMITTED = """
CREATE FUNCTION require_read_committed() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'this change needs the isolation level READ COMMITTED' USING ERRCODE = 'feature_not_supported';
    END IF;
END $$"""

# A day that has begun counts, one that has ended does not: in the zone of the doctor's clinic, and of those where he
# still has slots after a move.
LIMIT_DAYS = """
CREATE FUNCTION doctors_limit_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM require_read_committed();
    UPDATE doctor_days SET max_patients = NEW.max_patients_per_day
        WHERE doctor_id = NEW.id
          AND local_date >= (
              SELECT min((clock_timestamp() AT TIME ZONE time_zone)::date) FROM clinics
              WHERE id = NEW.clinic_id
                 OR id IN (SELECT clinic_id FROM appointment_slots
                           WHERE doctor_id = NEW.id AND slot_datetime > now() - interval '1 day'));
    RETURN NULL;
EXCEPTION WHEN check_violation THEN
    RAISE EXCEPTION 'a day already holds more appointments'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_doctors_days_within_limit';
END $$"""

# Waits for a change of the clinic's zone that is under way, and makes the next one wait.
DATE_SLOT = """
CREATE FUNCTION appointment_slots_set_local_date() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    SELECT (NEW.slot_datetime AT TIME ZONE time_zone)::date INTO NEW.local_date
        FROM clinics WHERE id = NEW.clinic_id FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such clinic'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'fk_appointment_slots_clinic_id';
    END IF;
    RETURN NEW;
END $$"""

# The slot's row is locked here, so no booking can come in between; those that came before are seen.
KEEP_LIVE_SLOT = """
CREATE FUNCTION appointment_slots_keep_live() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM appointments WHERE slot_id = NEW.id AND status IN ('pending', 'confirmed')) THEN
        RAISE EXCEPTION 'the slot has live appointments'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_appointment_slots_no_live';
    END IF;
    RETURN NEW;
END $$"""

# Slots to come, and those of the last days, move to the new zone's day; those that hold a place cannot, since their
# day's count would be wrong.
# They are locked in the order of their ids before the check, so that no booking comes in between.
MOVE_ZONE = """
CREATE FUNCTION clinics_move_zone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    -- a day that has begun, or begins anew in a zone up to 26 hours away, still counts
    since timestamptz := now() - interval '3 days';
BEGIN
    PERFORM now() AT TIME ZONE NEW.time_zone;
    IF TG_OP = 'INSERT' OR NEW.time_zone = OLD.time_zone THEN
        RETURN NULL;
    END IF;
    PERFORM require_read_committed();
    PERFORM FROM appointment_slots WHERE clinic_id = NEW.id AND slot_datetime > since ORDER BY id
        FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM appointment_slots
               WHERE clinic_id = NEW.id AND slot_datetime > since AND booked_count > 0) THEN
        RAISE EXCEPTION 'the clinic has appointments to come'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_clinics_time_zone_in_use';
    END IF;
    UPDATE appointment_slots SET local_date = (slot_datetime AT TIME ZONE NEW.time_zone)::date
        WHERE clinic_id = NEW.id AND slot_datetime > since;
    RETURN NULL;
END $$"""

TRIGGERS = (
    # Triggers fire by name, and those of foreign keys are called RI_…: this one comes before them. The slot's row is
    # then written before it is locked for the key, and never carries several lockers at once.
    """CREATE TRIGGER "00_appointments_keep_counters"
       AFTER INSERT OR DELETE OR UPDATE OF status, slot_id, doctor_id, clinic_id, patient_id ON appointments
       FOR EACH ROW EXECUTE FUNCTION appointments_keep_counters()""",
    """CREATE TRIGGER doctors_limit_days
       AFTER UPDATE OF max_patients_per_day ON doctors
       FOR EACH ROW WHEN (NEW.max_patients_per_day <> OLD.max_patients_per_day)
       EXECUTE FUNCTION doctors_limit_days()""",
    """CREATE TRIGGER appointment_slots_set_local_date
       BEFORE INSERT OR UPDATE OF slot_datetime, clinic_id ON appointment_slots
       FOR EACH ROW EXECUTE FUNCTION appointment_slots_set_local_date()""",
    """CREATE TRIGGER appointment_slots_keep_live
       BEFORE UPDATE OF is_active ON appointment_slots
       FOR EACH ROW WHEN (OLD.is_active AND NOT NEW.is_active)
       EXECUTE FUNCTION appointment_slots_keep_live()""",
    """CREATE TRIGGER clinics_move_zone
       AFTER INSERT OR UPDATE OF time_zone ON clinics
       FOR EACH ROW EXECUTE FUNCTION clinics_move_zone()""",
)

# What crosses upwards between features is asked of the database, in one call.
CALLER = """
CREATE FUNCTION caller_of(account bigint) RETURNS TABLE (
    id bigint, name varchar, email varchar, role user_role, mobile_no varchar, address varchar,
    is_verified boolean, is_active boolean, created_at timestamptz, updated_at timestamptz, last_login timestamptz,
    patient_id bigint, doctor_id bigint, clinic_ids bigint[]
) LANGUAGE sql STABLE AS $$
    SELECT u.id, u.name, u.email, u.role, u.mobile_no, u.address, u.is_verified, u.is_active, u.created_at,
           u.updated_at, u.last_login, p.id, d.id,
           ARRAY(SELECT s.clinic_id FROM clinic_staff s WHERE s.user_id = u.id ORDER BY s.clinic_id)
    FROM users u
    LEFT JOIN patients p ON p.user_id = u.id
    LEFT JOIN doctors d ON d.user_id = u.id
    WHERE u.id = account
$$"""

RELATION = """
CREATE FUNCTION is_treating(doctor bigint, patient bigint, at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
        WHERE a.patient_id = patient AND a.doctor_id = doctor AND a.is_active AND a.is_agreed
          AND (a.status IN ('pending', 'confirmed')
               OR (a.status = 'completed' AND s.slot_datetime > at - interval '1 year')))
$$"""

KNOWN = """
CREATE FUNCTION is_known_to(clinics bigint[], patient bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM appointments a
                   WHERE a.patient_id = patient AND a.clinic_id = ANY (clinics) AND a.is_active)
$$"""

# Counters, days and places of an appointment are not among them: only the triggers write those.
RIGHTS = (
    "GRANT USAGE ON SCHEMA public TO health_app",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO health_app",
    """GRANT INSERT (name, email, password_hash, role, is_verified, is_active, last_login, mobile_no, address),
             UPDATE (name, email, password_hash, role, is_verified, is_active, last_login, mobile_no, address,
                     updated_at)
       ON users TO health_app""",
    """GRANT INSERT (name, address, phone, email, city, state, zip_code, time_zone, is_active),
             UPDATE (name, address, phone, email, city, state, zip_code, time_zone, is_active, updated_at)
       ON clinics TO health_app""",
    "GRANT INSERT (clinic_id, user_id), DELETE ON clinic_staff TO health_app",
    """GRANT INSERT (user_id, date_of_birth, blood_group, allergies, emergency_contact, sex, preferred_language,
                     is_active),
             UPDATE (date_of_birth, blood_group, allergies, emergency_contact, sex, preferred_language, is_active,
                     updated_at)
       ON patients TO health_app""",
    """GRANT INSERT (user_id, clinic_id, specialty, license_number, qualifications, experience_years,
                     max_patients_per_day, is_active),
             UPDATE (clinic_id, specialty, license_number, qualifications, experience_years, max_patients_per_day,
                     is_active, updated_at)
       ON doctors TO health_app""",
    """GRANT INSERT (doctor_id, clinic_id, slot_datetime, duration_minutes, capacity, is_active),
             UPDATE (is_active, updated_at)
       ON appointment_slots TO health_app""",
    """GRANT INSERT (patient_id, doctor_id, clinic_id, slot_id, status, reason_for_visit, notes, cancelled_at,
                     cancelled_reason, booked_by_user_id, is_agreed, is_active),
             UPDATE (status, notes, cancelled_at, cancelled_reason, is_agreed, is_active, updated_at)
       ON appointments TO health_app""",
    "GRANT INSERT, UPDATE, DELETE ON idempotency_keys TO health_app",
)

# Called by triggers, and by nobody else.
GUARDS = (
    "require_read_committed()", "doctor_days_count(bigint, date, integer)", "appointments_keep_counters()",
    "doctors_limit_days()", "appointment_slots_set_local_date()", "appointment_slots_keep_live()",
    "clinics_move_zone()",
)  # fmt: skip
QUESTIONS = ("caller_of(bigint)", "is_treating(bigint, bigint, timestamptz)", "is_known_to(bigint[], bigint)")


def upgrade() -> None:
    for statement in (
        READ_COMMITTED, COUNT_DAY, KEEP_COUNTERS, LIMIT_DAYS, DATE_SLOT, KEEP_LIVE_SLOT, MOVE_ZONE, *TRIGGERS,
        CALLER, RELATION, KNOWN, *RIGHTS,
    ):  # fmt: skip
        op.execute(statement)
    for function in GUARDS + QUESTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    for function in QUESTIONS:
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO health_app")


def downgrade() -> None:
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM health_app")
    op.execute("REVOKE USAGE ON SCHEMA public FROM health_app")
    for trigger, table in (
        ("clinics_move_zone", "clinics"),
        ("appointment_slots_keep_live", "appointment_slots"),
        ("appointment_slots_set_local_date", "appointment_slots"),
        ("doctors_limit_days", "doctors"),
        ('"00_appointments_keep_counters"', "appointments"),
    ):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    for function in reversed(GUARDS + QUESTIONS):
        op.execute(f"DROP FUNCTION {function}")
