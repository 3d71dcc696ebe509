"""Lists that go on from a position: an index in the order of each, and the two lists that are functions.

Indexes are made while everybody reads and writes. An attempt that gives up, since somebody's transaction does not end,
leaves those that are made, and the next one goes on from there. docs/lists.md tells what they are for.
"""

from alembic import op
from sqlalchemy import text

revision = "0007"
down_revision = "0006"

LIVE = "status IN ('pending', 'confirmed')"
BOOKABLE = "is_active AND NOT is_booked"
USUAL_KINDS = "('appointment_booked', 'appointment_cancelled', 'appointment_reminder')"

INDEXES = {
    # Under row-level security an enum is compared row by row: what is seldom is found by what an index holds.
    "ix_users_role": "users (role, id) WHERE role <> 'patient'",
    "ix_users_inactive": "users (id) WHERE NOT is_active",
    "ix_clinics_city": "clinics (lower(city), id)",
    "ix_doctors_clinic_id": "doctors (clinic_id, id)",
    "ix_doctors_specialty": "doctors (lower(specialty), id)",
    "ix_appointment_slots_doctor_id": "appointment_slots (doctor_id, slot_datetime)",
    "ix_appointment_slots_clinic_id": "appointment_slots (clinic_id, slot_datetime)",
    "ix_appointment_slots_bookable": f"appointment_slots (slot_datetime, id) WHERE {BOOKABLE}",
    "ix_appointment_slots_doctor_id_bookable": f"appointment_slots (doctor_id, slot_datetime, id) WHERE {BOOKABLE}",
    "ix_appointment_slots_clinic_id_bookable": f"appointment_slots (clinic_id, slot_datetime, id) WHERE {BOOKABLE}",
    "ix_appointments_patient_id": "appointments (patient_id, id)",
    "ix_appointments_doctor_id": "appointments (doctor_id, id)",
    "ix_appointments_clinic_id": "appointments (clinic_id, id)",
    "ix_appointments_live": f"appointments (id) WHERE {LIVE}",
    "ix_appointments_doctor_id_live": f"appointments (doctor_id, id) WHERE {LIVE}",
    "ix_appointments_clinic_id_live": f"appointments (clinic_id, id) WHERE {LIVE}",
    "ix_appointments_no_show": "appointments (id) WHERE status = 'no_show'",
    "ix_notifications_state": "notifications (state, id) WHERE state <> 'sent'",
    "ix_notifications_other_channels": "notifications (channel, id) WHERE channel <> 'email'",
    "ix_notifications_other_kinds": f"notifications (kind, id) WHERE kind NOT IN {USUAL_KINDS}",
    "ix_webhook_deliveries_state": "webhook_deliveries (webhook_id, state, id) WHERE state <> 'sent'",
    "ix_audit_log_at": "audit_log (at, id)",
    "ix_audit_log_user_id": "audit_log (user_id, at, id)",
    "ix_audit_log_action": "audit_log (action, at, id)",
    "ix_audit_log_outcome": "audit_log (outcome, at, id) WHERE outcome <> 'success'",
    "ix_audit_log_patient": "audit_log ((patient_ids[1]), at, id) WHERE cardinality(patient_ids) = 1",
}
EARLIER = {
    "ix_users_role": "users (role, id)",
    "ix_clinics_city": "clinics (lower(city))",
    "ix_doctors_clinic_id": "doctors (clinic_id)",
    "ix_doctors_specialty": "doctors (lower(specialty))",
    "ix_appointment_slots_doctor_id": "appointment_slots (doctor_id)",
    "ix_appointment_slots_clinic_id": "appointment_slots (clinic_id)",
    "ix_appointment_slots_doctor_id_slot_datetime": "appointment_slots (doctor_id, slot_datetime, id) WHERE is_active",
    "ix_appointment_slots_clinic_id_slot_datetime": "appointment_slots (clinic_id, slot_datetime, id) WHERE is_active",
    "ix_appointments_patient_id": "appointments (patient_id)",
    "ix_appointments_doctor_id": "appointments (doctor_id)",
    "ix_appointments_clinic_id": "appointments (clinic_id)",
    "ix_notifications_failed": "notifications (id) WHERE state = 'failed'",
    "ix_notifications_other_channels": "notifications (id) WHERE channel <> 'email'",
    "ix_notifications_other_kinds": f"notifications (id) WHERE kind NOT IN {USUAL_KINDS}",
    "ix_audit_log_at": "audit_log (at)",
    "ix_audit_log_user_id": "audit_log (user_id, id)",
    "ix_audit_log_patient": "audit_log ((patient_ids[1]), id) WHERE cardinality(patient_ids) = 1",
}

DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

# The two without a position stay for processes of the version before, until they are replaced.
FUNCTIONS = {
    # Under a policy, an index over what an array holds is of no use.
    "audit_entries_about(bigint)": f"""
CREATE FUNCTION audit_entries_about(patient bigint) RETURNS SETOF bigint LANGUAGE sql STABLE ROWS 20 {DEFINER} AS $$
    SELECT l.id FROM (
        SELECT id FROM audit_log WHERE cardinality(patient_ids) = 1 AND patient_ids[1] = patient
        UNION ALL
        SELECT id FROM audit_log WHERE cardinality(patient_ids) > 1 AND patient_ids @> ARRAY[patient]
    ) l
    WHERE current_setting('app.role', true) IN ('admin', 'service')
$$""",
    "find_patients(varchar, text, bigint[], bigint, bigint, bigint)": f"""
CREATE FUNCTION find_patients(
    query varchar, words text, clinics bigint[], after bigint, skip bigint, most bigint
) RETURNS TABLE (id bigint, name varchar, date_of_birth date, is_active boolean) LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT p.id, u.name, p.date_of_birth, p.is_active
    FROM patients p JOIN users u ON u.id = p.user_id
    WHERE p.id > after AND (
        u.email = lower(query) OR u.mobile_no = query
        OR to_tsvector('simple'::regconfig, u.name) @@ to_tsquery('simple'::regconfig, words)
           AND (clinics IS NULL OR lower(u.name) = lower(query) OR is_known_to(clinics, p.id)))
    ORDER BY p.id OFFSET skip LIMIT most
$$""",
    "access_log_of(bigint, timestamptz, bigint, bigint, bigint)": f"""
CREATE FUNCTION access_log_of(
    patient bigint, before timestamptz, before_id bigint, skip bigint, most bigint
) RETURNS TABLE (
    id bigint, at timestamptz, user_id bigint, role user_role, name varchar, action varchar, object varchar,
    outcome varchar, via varchar
) LANGUAGE sql STABLE {DEFINER} AS $$
    SELECT l.id, l.at, CASE WHEN w.is_shown THEN l.user_id END, u.role, CASE WHEN w.is_shown THEN u.name END,
           l.action, l.object, l.outcome, split_part(l.via, ':', 1)
    FROM (
        (SELECT * FROM audit_log WHERE cardinality(patient_ids) = 1 AND patient_ids[1] = patient
           AND (at, id) < (before, before_id) ORDER BY at DESC, id DESC LIMIT skip + most)
        UNION ALL
        (SELECT * FROM audit_log WHERE cardinality(patient_ids) > 1 AND patient_ids @> ARRAY[patient]
           AND (at, id) < (before, before_id) ORDER BY at DESC, id DESC LIMIT skip + most)
    ) l
    LEFT JOIN users u ON u.id = l.user_id
    CROSS JOIN LATERAL (
        SELECT u.role <> 'patient' OR l.outcome = 'success'
               OR EXISTS (SELECT FROM patients p WHERE p.id = patient AND p.user_id = u.id)
    ) w (is_shown)
    WHERE current_setting('app.role', true) = 'admin' OR current_setting('app.patient_id', true) = patient::text
    ORDER BY l.at DESC, l.id DESC OFFSET skip LIMIT most
$$""",
}


def upgrade() -> None:
    _put(INDEXES, instead_of=EARLIER)
    for function, statement in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO health_app")


def downgrade() -> None:
    _put(EARLIER, instead_of=INDEXES)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")


def _put(indexes: dict[str, str], *, instead_of: dict[str, str]) -> None:
    """Make all of these, then drop all of those; many keep their name, which they take at the end."""
    with op.get_context().autocommit_block():
        is_whole = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        for name, place in indexes.items():
            made = op.get_bind().scalar(is_whole, {"name": f"{name}_new"})
            if made is False:
                op.execute(f"DROP INDEX CONCURRENTLY {name}_new")
            if not made:
                op.execute(f"CREATE INDEX CONCURRENTLY {name}_new ON {place}")
        for name in instead_of:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in indexes:
        op.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
