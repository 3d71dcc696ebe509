"""What is known of a person himself: account, record, appointments, who saw them."""

from health_services.privacy.holding import OWN, PATIENTS, SECRET, Emptied, Holding, Kept, Removed

_ACCOUNTING = "that a visit was booked, with whom and when, is kept for accounting and the law; it tells nothing of why"

ACCOUNT = (
    Holding(
        table="users",
        kind="account",
        about="Your account: name, contact, since when.",
        whose="t.id = CAST(:user_id AS bigint)",
        shown=(
            "id", "name", "email", "role", "is_verified", "is_active", "last_login", "mobile_no", "address",
            "created_at", "updated_at", "erased_at",
        ),
        withheld={"password_hash": SECRET},
        is_single=True,
        erasure=Emptied(
            {
                "name": "'Erased person'", "email": "NULL", "password_hash": "NULL", "mobile_no": "NULL",
                "address": "NULL", "is_verified": "false", "is_active": "false", "last_login": "NULL",
                "erased_at": ":now", "updated_at": ":now",
            },
            unless_done="t.erased_at IS NULL",
            stays=("id", "role", "created_at"),
            why="a number that appointments and the audit refer to",
        ),
    ),
    Holding(
        table="patients",
        kind="patient",
        about="Your patient record.",
        whose="t.id = CAST(:patient_id AS bigint)",
        shown=(
            "id", "user_id", "date_of_birth", "blood_group", "allergies", "emergency_contact", "sex",
            "preferred_language", "is_active", "created_at", "updated_at", "erased_at", "erased_reason",
        ),
        sealed=("allergies", "emergency_contact", "erased_reason"),
        is_single=True,
        erasure=Emptied(
            {
                "date_of_birth": "NULL", "blood_group": "NULL", "allergies": "NULL", "emergency_contact": "NULL",
                "sex": "NULL", "preferred_language": "NULL", "is_active": "false", "erased_at": ":now",
                "erased_reason": ":reason", "updated_at": ":now",
            },
            unless_done="t.erased_at IS NULL",
            stays=("id", "user_id", "created_at"),
            why="a number that appointments and the audit refer to; why it was erased is accounted for",
        ),
    ),
    Holding(
        table="doctors",
        kind="doctor",
        about="Your entry in the directory, if you are or were a doctor here.",
        whose=OWN,
        shown=(
            "id", "user_id", "name", "clinic_id", "specialty", "license_number", "qualifications", "experience_years",
            "max_patients_per_day", "is_active", "created_at", "updated_at",
        ),
        is_single=True,
        erasure=Emptied(
            {"qualifications": "NULL", "is_active": "false"},
            unless_done="(t.qualifications IS NOT NULL OR t.is_active)",
            stays=(
                "id", "user_id", "name", "clinic_id", "specialty", "license_number", "experience_years",
                "max_patients_per_day", "created_at", "updated_at",
            ),
            why="other patients' records name who treated them",
        ),
    ),
    Holding(
        table="clinic_staff",
        kind="workplaces",
        about="Clinics at whose desks you work.",
        whose=OWN,
        shown=("clinic_id", "created_at"),
        order="clinic_id",
        erasure=Removed(),
    ),
)  # fmt: skip

VISITS = (
    Holding(
        table="appointments",
        kind="appointments",
        about="Your appointments, with reasons and, once the visit is over, the doctor's notes.",
        whose=PATIENTS,
        shown=(
            "id", "doctor_id", "clinic_id", "slot_id", "status", "reason_for_visit", "notes", "cancelled_at",
            "cancelled_reason", "booked_by_user_id", "is_agreed", "is_active", "revision", "created_at", "updated_at",
        ),
        computed={
            "starts_at": "(SELECT s.slot_datetime FROM appointment_slots s WHERE s.id = t.slot_id)",
            "duration_minutes": "(SELECT s.duration_minutes FROM appointment_slots s WHERE s.id = t.slot_id)",
            "doctor_name": "(SELECT d.name FROM doctors d WHERE d.id = t.doctor_id)",
            "clinic_name": "(SELECT c.name FROM clinics c WHERE c.id = t.clinic_id)",
        },
        sealed=("reason_for_visit", "notes"),
        erasure=Emptied(
            {"reason_for_visit": "NULL", "notes": "NULL", "cancelled_reason": "NULL"},
            unless_done="COALESCE(t.reason_for_visit, t.notes, t.cancelled_reason) IS NOT NULL",
            stays=(
                "id", "patient_id", "doctor_id", "clinic_id", "slot_id", "status", "cancelled_at", "booked_by_user_id",
                "is_agreed", "is_active", "revision", "created_at", "updated_at",
            ),
            why=_ACCOUNTING,
        ),
    ),
    Holding(
        table="emergency_accesses",
        kind="emergency_accesses",
        about="When a doctor who was not treating you opened your record in an emergency, and why.",
        whose=PATIENTS,
        shown=("id", "doctor_id", "reason", "expires_at", "created_at"),
        computed={"doctor_name": "(SELECT d.name FROM doctors d WHERE d.id = t.doctor_id)"},
        sealed=("reason",),
        erasure=Emptied(
            {"reason": "''"},
            unless_done="t.reason <> ''",
            stays=("id", "patient_id", "doctor_id", "expires_at", "created_at"),
            why="who opened the record is answered for",
        ),
    ),
    Holding(
        table="audit_log",
        kind="access_log",
        about="Who read or changed something about you, and what you did yourself.",
        whose="""(cardinality(t.patient_ids) = 1 AND t.patient_ids[1] = CAST(:patient_id AS bigint)
                  OR cardinality(t.patient_ids) > 1 AND t.patient_ids @> ARRAY[CAST(:patient_id AS bigint)]
                  OR cardinality(t.user_ids) = 1 AND t.user_ids[1] = CAST(:user_id AS bigint)
                  OR cardinality(t.user_ids) > 1 AND t.user_ids @> ARRAY[CAST(:user_id AS bigint)]
                  OR t.user_id = CAST(:user_id AS bigint))""",
        shown=("id", "at", "action", "object", "outcome", "status", "request_id"),
        computed={
            "by_role": "(SELECT u.role FROM users u WHERE u.id = t.user_id)",
            "by_name": "(SELECT u.name FROM users u WHERE u.id = t.user_id AND (u.role <> 'patient' OR "
            "u.id = CAST(:user_id AS bigint)))",
            "is_own": f"COALESCE({OWN}, false)",
            "through": "split_part(t.via, ':', 1)",
            "from_address": f"CASE WHEN {OWN} THEN t.address END",
        },
        withheld={
            "user_id": "who it was is told by role and name, unless it is another patient",
            "via": "told by its kind",
            "address": "told where it was your own",
            "patient_ids": "a list names other patients too",
            "user_ids": "a list names other people too",
            "xid": "guards the log", "nonce": "guards the log", "key_id": "guards the log", "mac": "guards the log",
        },
        erasure=Kept("what was done must stay provable; it holds numbers and addresses, no names and no texts"),
    ),
)  # fmt: skip
