"""Row-level security: whom a transaction acts for is said once, and every table with personal data heeds it.

The policies repeat docs/access.md in the coarse: which rows somebody can see at all. The services decide what of them
he is shown and may do. An empty context sees nothing. docs/security.md and docs/decisions/0010-row-security.md tell
how the context is set, and which functions see more.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

ROLE = "(SELECT current_setting('app.role', true))"
SEES_ALL = f"{ROLE} IN ('admin', 'service')"
USER = "(SELECT NULLIF(current_setting('app.user_id', true), '')::bigint)"
PATIENT = "(SELECT NULLIF(current_setting('app.patient_id', true), '')::bigint)"
DOCTOR = "(SELECT NULLIF(current_setting('app.doctor_id', true), '')::bigint)"
CLINICS = "(SELECT NULLIF(current_setting('app.clinic_ids', true), '')::bigint[])"

OWN = f"user_id = {USER} OR {SEES_ALL}"
# What a row's policy is for every kind of statement; USING and WITH CHECK alike.
POLICIES = {
    "users": f"""id = {USER} OR {SEES_ALL}
        OR {ROLE} IN ('doctor', 'staff') AND sees_person(id)""",
    "patients": f"""id = {PATIENT} OR user_id = {USER} OR {SEES_ALL}
        OR {ROLE} = 'doctor' AND is_treating({DOCTOR}, id, now())
        OR {ROLE} = 'staff' AND is_known_to({CLINICS}, id)""",
    "appointments": f"""patient_id = {PATIENT} OR doctor_id = {DOCTOR} OR clinic_id = ANY ({CLINICS}::bigint[])
        OR {SEES_ALL}""",
    "clinic_staff": f"{OWN} OR clinic_id = ANY ({CLINICS}::bigint[])",
    "emergency_accesses": f"patient_id = {PATIENT} OR doctor_id = {DOCTOR} OR {SEES_ALL}",
    "notifications": f"{OWN} OR sees_appointment(appointment_id)",
    "notification_preferences": OWN,
    "push_subscriptions": OWN,
    "calendar_feeds": OWN,
    "idempotency_keys": f"user_id = {USER} OR {ROLE} = 'service'",
    "sessions": OWN,
    "refresh_tokens": f"user_id = {USER} OR {ROLE} = 'service'",
    "totp_authenticators": OWN,
    "recovery_codes": OWN,
    "passkeys": OWN,
    "api_keys": OWN,
    # the worker's alone: one false link would stop the chain
    "audit_seals": f"{ROLE} = 'service'",
}
# Written by whoever causes them, read by nobody but administrators and the worker.
APPENDED = ("webhook_deliveries", "audit_log")

CALLER_TYPE = """
CREATE TYPE caller AS (
    id bigint, name varchar, email varchar, role user_role, mobile_no varchar, address varchar,
    is_verified boolean, is_active boolean, created_at timestamptz, updated_at timestamptz, last_login timestamptz,
    patient_id bigint, doctor_id bigint, clinic_ids bigint[],
    session_id bigint, authenticated_at timestamptz, methods varchar[], has_second_factor boolean,
    api_key_id bigint, scopes varchar[]
)"""

DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

# Who somebody is, and from then on, until the transaction ends, whom it acts for. A session that has ended, and an
# account that is not active, are nobody.
ACT_AS = f"""
CREATE FUNCTION act_as(account bigint, via_session bigint DEFAULT NULL) RETURNS SETOF caller
LANGUAGE plpgsql {DEFINER} AS $$
DECLARE
    account_row caller;
BEGIN
    SELECT u.id, u.name, u.email, u.role, u.mobile_no, u.address, u.is_verified, u.is_active, u.created_at,
           u.updated_at, u.last_login, p.id,
           d.id, ARRAY(SELECT c.clinic_id FROM clinic_staff c WHERE c.user_id = u.id ORDER BY c.clinic_id),
           s.id, s.authenticated_at, s.methods,
           EXISTS (SELECT FROM totp_authenticators t WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL)
               OR EXISTS (SELECT FROM passkeys k WHERE k.user_id = u.id),
           NULL, NULL
    INTO account_row
    FROM users u
    LEFT JOIN patients p ON p.user_id = u.id
    LEFT JOIN doctors d ON d.user_id = u.id
    LEFT JOIN sessions s ON s.id = via_session AND s.user_id = u.id AND s.ended_at IS NULL AND s.expires_at > now()
    WHERE u.id = account AND u.is_active AND (via_session IS NULL OR s.id IS NOT NULL);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM set_config('app.user_id', account_row.id::text, true),
            set_config('app.role', account_row.role::text, true),
            set_config('app.patient_id', COALESCE(account_row.patient_id::text, ''), true),
            set_config('app.doctor_id',
                       CASE account_row.role WHEN 'doctor' THEN COALESCE(account_row.doctor_id::text, '') ELSE '' END,
                       true),
            set_config('app.clinic_ids',
                       CASE account_row.role WHEN 'staff' THEN account_row.clinic_ids::text ELSE '' END, true);
    RETURN NEXT account_row;
END $$"""

# The same by an API key, whose use is noted once a minute; of two requests at once by only one, and none waits.
ACT_AS_KEY = f"""
CREATE FUNCTION act_as_key(key_prefix varchar, key_hash bytea) RETURNS SETOF caller
LANGUAGE plpgsql {DEFINER} AS $$
DECLARE
    key api_keys;
    account_row caller;
BEGIN
    SELECT * INTO key FROM api_keys k
        WHERE k.prefix = key_prefix AND k.secret_hash = key_hash AND k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > now());
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO account_row FROM act_as(key.user_id);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF key.last_used_at IS NULL OR key.last_used_at < now() - interval '1 minute' THEN
        UPDATE api_keys SET last_used_at = now()
        WHERE id = (SELECT k.id FROM api_keys k WHERE k.id = key.id FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    account_row.api_key_id := key.id;
    account_row.scopes := key.scopes;
    RETURN NEXT account_row;
END $$"""

# What has to be known before anybody is known, or of what the caller cannot see: as little as possible each.
QUESTIONS = {
    "credentials_of(varchar)": f"""
CREATE FUNCTION credentials_of(email_address varchar) RETURNS TABLE (
    id bigint, password_hash varchar, is_active boolean, is_verified boolean
) LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT u.id, u.password_hash, u.is_active, u.is_verified FROM users u WHERE u.email = email_address
$$""",
    # Whether there is such a thing, and which patient it concerns: tells 403 from 404, and the audit's "whose".
    "whom_it_concerns(text, bigint)": f"""
CREATE FUNCTION whom_it_concerns(kind text, object bigint) RETURNS bigint
LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT CASE kind
        WHEN 'patient' THEN (SELECT p.id FROM patients p WHERE p.id = object)
        WHEN 'appointment' THEN (SELECT a.patient_id FROM appointments a WHERE a.id = object)
    END
$$""",
    "patient_account(bigint)": f"""
CREATE FUNCTION patient_account(patient bigint) RETURNS TABLE (user_id bigint, is_active boolean)
LANGUAGE sql STABLE ROWS 1 {DEFINER} AS $$
    SELECT p.user_id, p.is_active FROM patients p WHERE p.id = patient
$$""",
    # Staff find people unknown to their clinics only by the whole name, address or number; without clinics, everybody.
    "find_patients(varchar, text, bigint[], bigint, bigint)": f"""
CREATE FUNCTION find_patients(query varchar, words text, clinics bigint[], skip bigint, most bigint) RETURNS TABLE (
    id bigint, name varchar, date_of_birth date, is_active boolean
) LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT p.id, u.name, p.date_of_birth, p.is_active
    FROM patients p JOIN users u ON u.id = p.user_id
    WHERE u.email = lower(query) OR u.mobile_no = query
       OR to_tsvector('simple'::regconfig, u.name) @@ to_tsquery('simple'::regconfig, words)
          AND (clinics IS NULL OR lower(u.name) = lower(query) OR is_known_to(clinics, p.id))
    ORDER BY p.id OFFSET skip LIMIT most
$$""",
    "feed_owner(bytea)": f"""
CREATE FUNCTION feed_owner(hash bytea) RETURNS bigint LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT f.user_id FROM calendar_feeds f WHERE f.token_hash = hash
$$""",
    "refresh_token_owner(bytea)": f"""
CREATE FUNCTION refresh_token_owner(hash bytea) RETURNS TABLE (user_id bigint, session_id bigint)
LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT t.user_id, t.session_id FROM refresh_tokens t WHERE t.token_hash = hash
$$""",
    "passkey_owner(bytea)": f"""
CREATE FUNCTION passkey_owner(credential bytea) RETURNS bigint LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT k.user_id FROM passkeys k WHERE k.credential_id = credential
$$""",
    # Uses it up, or (with `keep`) counts one more attempt at it; no row for one that is used, expired or unknown.
    "redeem(bytea, varchar, boolean)": f"""
CREATE FUNCTION redeem(hash bytea, what varchar, keep boolean DEFAULT false) RETURNS TABLE (
    user_id bigint, data jsonb, attempts integer
) LANGUAGE sql {DEFINER} AS $$
    UPDATE one_time_tokens t SET used_at = CASE WHEN keep THEN NULL ELSE now() END, attempts = t.attempts + 1
    WHERE t.token_hash = hash AND t.purpose = what AND t.used_at IS NULL AND t.expires_at > now()
    RETURNING t.user_id, t.data, t.attempts
$$""",
}

# Whether the caller sees that row: under the policy of its own table. Functions, since the planner may turn a subquery
# of a policy into a table of all that the caller sees, which grows with the data.
SEEING = {
    "sees_appointment(bigint)": """
CREATE FUNCTION sees_appointment(appointment bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM appointments a WHERE a.id = appointment)
$$""",
    "sees_person(bigint)": """
CREATE FUNCTION sees_person(person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM patients p WHERE p.user_id = person)
$$""",
}

# A doctor who has broken the glass sees the record for as long as that lasts.
RELATION = """
CREATE OR REPLACE FUNCTION is_treating(doctor bigint, patient bigint, at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
        WHERE a.patient_id = patient AND a.doctor_id = doctor AND a.is_active AND a.is_agreed
          AND (a.status IN ('pending', 'confirmed')
               OR (a.status = 'completed' AND s.slot_datetime > at - interval '1 year')))
        OR EXISTS (SELECT FROM emergency_accesses e
                   WHERE e.patient_id = patient AND e.doctor_id = doctor AND e.expires_at > at)
$$"""
EARLIER_RELATION = """
CREATE OR REPLACE FUNCTION is_treating(doctor bigint, patient bigint, at timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id
        WHERE a.patient_id = patient AND a.doctor_id = doctor AND a.is_active AND a.is_agreed
          AND (a.status IN ('pending', 'confirmed')
               OR (a.status = 'completed' AND s.slot_datetime > at - interval '1 year')))
$$"""

# What a message or a calendar says of an appointment: nothing clinical. Whoever sees the appointment sees this.
DETAILS = """
CREATE VIEW appointment_details WITH (security_invoker = true) AS
SELECT a.id AS appointment_id, a.patient_id, a.doctor_id, a.clinic_id, a.status::varchar AS status, a.revision,
       a.is_active, a.created_at, a.updated_at, a.status IN ('pending', 'confirmed') AS is_live,
       s.slot_datetime AS starts_at, s.slot_datetime + make_interval(mins => s.duration_minutes) AS ends_at,
       p.user_id AS patient_user_id, p.is_active AS patient_is_active,
       d.user_id AS doctor_user_id, {doctor_name} AS doctor_name,
       c.name AS clinic_name, c.address AS clinic_address, c.zip_code AS clinic_zip_code, c.city AS clinic_city,
       c.phone AS clinic_phone, c.email AS clinic_email, c.time_zone,
       'appointment-' || a.id || '@' || i.id AS calendar_uid
FROM appointments a
JOIN appointment_slots s ON s.id = a.slot_id
{join_patient}
JOIN doctors d ON d.id = a.doctor_id
{join_user}
JOIN clinics c ON c.id = a.clinic_id
CROSS JOIN installation i"""
NEW_DETAILS = DETAILS.format(
    doctor_name="d.name", join_patient="CROSS JOIN LATERAL patient_account(a.patient_id) p", join_user=""
)
OLD_DETAILS = DETAILS.format(
    doctor_name="u.name",
    join_patient="JOIN patients p ON p.id = a.patient_id",
    join_user="JOIN users u ON u.id = d.user_id",
)

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

# Nobody books for a person who is being erased, or writes about him: whoever comes first makes the other wait, for the
# patient's row is locked before it is read. It comes before the counters: appointment, patient, slot is the order.
REFUSE_ERASED = f"""
CREATE FUNCTION appointments_refuse_erased() RETURNS trigger
LANGUAGE plpgsql {DEFINER} AS $$
DECLARE
    erased timestamptz;
BEGIN
    SELECT erased_at INTO erased FROM patients WHERE id = NEW.patient_id FOR KEY SHARE;
    IF erased IS NOT NULL THEN
        RAISE EXCEPTION 'the person was erased'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_appointments_patient_erased';
    END IF;
    RETURN NULL;
END $$"""
REFUSING = """
CREATE TRIGGER "00_appointments_erased"
AFTER INSERT OR UPDATE OF status, reason_for_visit, notes, cancelled_reason ON appointments
FOR EACH ROW WHEN (NEW.status IN ('pending', 'confirmed')
                   OR COALESCE(NEW.reason_for_visit, NEW.notes, NEW.cancelled_reason) IS NOT NULL)
EXECUTE FUNCTION appointments_refuse_erased()"""

REFUSING_EMERGENCIES = """
CREATE TRIGGER emergency_accesses_erased AFTER INSERT ON emergency_accesses
FOR EACH ROW EXECUTE FUNCTION appointments_refuse_erased()"""

# What is to be forgotten is found by these; what a booking writes is in none of them.
FORGETTING = {
    "ix_notifications_created_at_kept": "notifications (created_at) WHERE data <> '{}'::jsonb AND state <> 'queued'",
    "ix_webhook_deliveries_created_at_kept": "webhook_deliveries (created_at) WHERE body <> '' AND state <> 'queued'",
    "ix_webhook_deliveries_subject_kept": "webhook_deliveries (subject) WHERE body <> '' AND state <> 'queued'",
}

RIGHTS = (
    # An id is part of what is sealed, so it is drawn before the row is made.
    "GRANT INSERT (id) ON patients, appointments, emergency_accesses TO health_app",
    "GRANT USAGE ON SEQUENCE patients_id_seq, appointments_id_seq, emergency_accesses_id_seq TO health_app",
    # For erasing a person, and forgetting what is old.
    "GRANT UPDATE (reason_for_visit) ON appointments TO health_app",
    "GRANT UPDATE (data) ON notifications TO health_app",
    "GRANT UPDATE (body) ON webhook_deliveries TO health_app",
    "GRANT DELETE ON notification_preferences TO health_app",
)

SHUT = ("act_as(bigint, bigint)", "act_as_key(varchar, bytea)", *QUESTIONS, *SEEING)


def upgrade() -> None:
    op.execute("LOCK TABLE appointments, notifications, users, patients IN ACCESS EXCLUSIVE MODE")
    for statement in (CALLER_TYPE, ACT_AS, ACT_AS_KEY, *QUESTIONS.values(), *SEEING.values(), RELATION):
        op.execute(statement)
    op.execute("DROP FUNCTION caller_of(bigint)")
    op.execute("DROP VIEW appointment_details")
    op.execute(NEW_DETAILS)
    op.execute("GRANT SELECT ON appointment_details TO health_app")
    op.execute("ALTER FUNCTION contact_of(bigint) SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp")
    for function in SHUT:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO health_app")
    for statement in RIGHTS:
        op.execute(statement)
    op.execute(REFUSE_ERASED)
    op.execute("REVOKE ALL ON FUNCTION appointments_refuse_erased() FROM PUBLIC")
    op.execute(REFUSING)
    op.execute(REFUSING_EMERGENCIES)
    for name, place in FORGETTING.items():
        op.execute(f"CREATE INDEX {name} ON {place}")
    for table, rule in POLICIES.items():
        _close(table)
        op.execute(f"CREATE POLICY {table}_context ON {table} TO health_app USING ({rule}) WITH CHECK ({rule})")
    for table in APPENDED:
        _close(table)
        op.execute(f"CREATE POLICY {table}_append ON {table} FOR INSERT TO health_app WITH CHECK (true)")
        op.execute(f"CREATE POLICY {table}_context ON {table} TO health_app USING ({SEES_ALL}) WITH CHECK ({SEES_ALL})")
    _close("one_time_tokens")
    rule = f"user_id = {USER} OR {ROLE} = 'service'"
    op.execute(f"CREATE POLICY one_time_tokens_context ON one_time_tokens TO health_app USING ({rule})")
    # A sign-in by passkey begins before anybody is known.
    op.execute(
        "CREATE POLICY one_time_tokens_begin ON one_time_tokens FOR INSERT TO health_app WITH CHECK (user_id IS NULL)"
    )


def _close(table: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("LOCK TABLE appointments, notifications, users, patients IN ACCESS EXCLUSIVE MODE")
    for table in (*POLICIES, *APPENDED, "one_time_tokens"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"DROP POLICY {table}_context ON {table}")
    for table in APPENDED:
        op.execute(f"DROP POLICY {table}_append ON {table}")
    op.execute("DROP POLICY one_time_tokens_begin ON one_time_tokens")
    op.execute('DROP TRIGGER "00_appointments_erased" ON appointments')
    op.execute("DROP TRIGGER emergency_accesses_erased ON emergency_accesses")
    op.execute("DROP FUNCTION appointments_refuse_erased()")
    for name in FORGETTING:
        op.execute(f"DROP INDEX {name}")
    op.execute("REVOKE INSERT (id) ON patients, appointments, emergency_accesses FROM health_app")
    op.execute(
        "REVOKE USAGE ON SEQUENCE patients_id_seq, appointments_id_seq, emergency_accesses_id_seq FROM health_app"
    )
    op.execute("REVOKE UPDATE (reason_for_visit) ON appointments FROM health_app")
    op.execute("REVOKE UPDATE (data) ON notifications FROM health_app")
    op.execute("REVOKE UPDATE (body) ON webhook_deliveries FROM health_app")
    op.execute("REVOKE DELETE ON notification_preferences FROM health_app")
    op.execute("ALTER FUNCTION contact_of(bigint) SECURITY INVOKER RESET ALL")
    op.execute("DROP VIEW appointment_details")
    op.execute(OLD_DETAILS)
    op.execute("GRANT SELECT ON appointment_details TO health_app")
    op.execute(EARLIER_RELATION)
    for function in SHUT:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP TYPE caller")
    op.execute(CALLER)
    op.execute("REVOKE ALL ON FUNCTION caller_of(bigint) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION caller_of(bigint) TO health_app")
