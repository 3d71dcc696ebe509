"""The guide's six tables, their indexes, and what else the first version keeps.

The names of tables, columns and indexes are the guide's. The rules that bind every writer follow in the next revision.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    "CREATE TYPE user_role AS ENUM ('patient', 'doctor', 'staff', 'admin')",
    "CREATE TYPE appointment_status AS ENUM ('pending', 'confirmed', 'cancelled', 'completed', 'no_show')",
    """
    CREATE TABLE users (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_users PRIMARY KEY,
        name varchar NOT NULL CONSTRAINT ck_users_name CHECK (name <> ''),
        email varchar CONSTRAINT ck_users_email_lower CHECK (email = lower(email)),
        password_hash varchar,
        role user_role NOT NULL DEFAULT 'patient',
        is_verified boolean NOT NULL DEFAULT false,
        is_active boolean NOT NULL DEFAULT true,
        last_login timestamptz,
        mobile_no varchar,
        address varchar,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE clinics (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_clinics PRIMARY KEY,
        name varchar NOT NULL CONSTRAINT ck_clinics_name CHECK (name <> ''),
        address varchar,
        phone varchar,
        email varchar,
        city varchar,
        state varchar,
        zip_code varchar,
        time_zone varchar NOT NULL DEFAULT 'UTC',
        is_active boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE clinic_staff (
        clinic_id bigint NOT NULL CONSTRAINT fk_clinic_staff_clinic_id REFERENCES clinics,
        user_id bigint NOT NULL CONSTRAINT fk_clinic_staff_user_id REFERENCES users,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_clinic_staff PRIMARY KEY (clinic_id, user_id)
    )""",
    """
    CREATE TABLE patients (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_patients PRIMARY KEY,
        user_id bigint NOT NULL CONSTRAINT fk_patients_user_id REFERENCES users,
        date_of_birth date,
        blood_group varchar CONSTRAINT ck_patients_blood_group
            CHECK (blood_group IN ('A+', 'A-', 'B+', 'B-', 'AB+', 'AB-', 'O+', 'O-')),
        allergies varchar,
        emergency_contact varchar,
        sex varchar CONSTRAINT ck_patients_sex CHECK (sex IN ('female', 'male', 'other', 'unknown')),
        preferred_language varchar,
        is_active boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE doctors (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_doctors PRIMARY KEY,
        user_id bigint NOT NULL CONSTRAINT fk_doctors_user_id REFERENCES users,
        clinic_id bigint NOT NULL CONSTRAINT fk_doctors_clinic_id REFERENCES clinics,
        specialty varchar NOT NULL,
        license_number varchar NOT NULL,
        qualifications varchar,
        experience_years integer NOT NULL DEFAULT 0
            CONSTRAINT ck_doctors_experience_years CHECK (experience_years BETWEEN 0 AND 80),
        max_patients_per_day integer NOT NULL DEFAULT 20
            CONSTRAINT ck_doctors_max_patients_per_day CHECK (max_patients_per_day BETWEEN 1 AND 1000),
        is_active boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE doctor_days (
        doctor_id bigint NOT NULL CONSTRAINT fk_doctor_days_doctor_id REFERENCES doctors,
        local_date date NOT NULL,
        booked_count integer NOT NULL CONSTRAINT ck_doctor_days_booked_count CHECK (booked_count >= 0),
        max_patients integer NOT NULL,
        CONSTRAINT pk_doctor_days PRIMARY KEY (doctor_id, local_date),
        CONSTRAINT ck_doctor_days_max_patients CHECK (booked_count <= max_patients)
    ) WITH (fillfactor = 70)""",
    # `timestamptz + interval` depends on the session's zone and is refused in an index; in UTC it does not.
    """
    CREATE TABLE appointment_slots (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_appointment_slots PRIMARY KEY,
        doctor_id bigint NOT NULL CONSTRAINT fk_appointment_slots_doctor_id REFERENCES doctors,
        clinic_id bigint NOT NULL CONSTRAINT fk_appointment_slots_clinic_id REFERENCES clinics,
        slot_datetime timestamptz NOT NULL
            CONSTRAINT ck_appointment_slots_slot_datetime CHECK (isfinite(slot_datetime)),
        duration_minutes integer NOT NULL DEFAULT 30
            CONSTRAINT ck_appointment_slots_duration_minutes CHECK (duration_minutes BETWEEN 5 AND 480),
        is_booked boolean NOT NULL GENERATED ALWAYS AS (booked_count >= capacity) STORED,
        capacity integer NOT NULL DEFAULT 1
            CONSTRAINT ck_appointment_slots_capacity CHECK (capacity BETWEEN 1 AND 1000),
        booked_count integer NOT NULL DEFAULT 0
            CONSTRAINT ck_appointment_slots_booked_count CHECK (booked_count BETWEEN 0 AND capacity),
        is_active boolean NOT NULL DEFAULT true,
        local_date date NOT NULL DEFAULT CURRENT_DATE,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ex_appointment_slots_doctor_id_period EXCLUDE USING gist (
            doctor_id WITH =,
            tsrange(slot_datetime AT TIME ZONE 'UTC',
                    (slot_datetime AT TIME ZONE 'UTC') + make_interval(mins => duration_minutes)) WITH &&
        ) WHERE (is_active)
    ) WITH (fillfactor = 80)""",
    """
    CREATE TABLE appointments (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_appointments PRIMARY KEY,
        patient_id bigint NOT NULL CONSTRAINT fk_appointments_patient_id REFERENCES patients,
        doctor_id bigint NOT NULL CONSTRAINT fk_appointments_doctor_id REFERENCES doctors,
        clinic_id bigint NOT NULL CONSTRAINT fk_appointments_clinic_id REFERENCES clinics,
        slot_id bigint NOT NULL CONSTRAINT fk_appointments_slot_id REFERENCES appointment_slots,
        status appointment_status NOT NULL DEFAULT 'pending',
        reason_for_visit varchar,
        notes varchar,
        cancelled_at timestamptz,
        cancelled_reason varchar,
        booked_by_user_id bigint CONSTRAINT fk_appointments_booked_by_user_id REFERENCES users,
        is_agreed boolean NOT NULL DEFAULT false,
        is_active boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 90)""",
    """
    CREATE TABLE idempotency_keys (
        user_id bigint NOT NULL,
        key_hash bytea NOT NULL,
        request_hash bytea NOT NULL,
        status smallint NOT NULL,
        answer bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, key_hash)
    )""",
)

INDEXES = (
    "CREATE UNIQUE INDEX ix_users_email ON users (email)",
    "CREATE INDEX ix_users_mobile_no ON users (mobile_no)",
    "CREATE INDEX ix_users_name ON users USING gin (to_tsvector('simple'::regconfig, name))",
    "CREATE INDEX ix_clinics_city ON clinics (lower(city))",
    "CREATE INDEX ix_clinic_staff_user_id ON clinic_staff (user_id)",
    "CREATE UNIQUE INDEX ix_patients_user_id ON patients (user_id)",
    "CREATE INDEX ix_doctors_clinic_id ON doctors (clinic_id)",
    "CREATE UNIQUE INDEX ix_doctors_user_id ON doctors (user_id)",
    "CREATE UNIQUE INDEX ix_doctors_license_number ON doctors (license_number)",
    "CREATE INDEX ix_doctors_specialty ON doctors (lower(specialty))",
    "CREATE INDEX ix_appointment_slots_doctor_id ON appointment_slots (doctor_id)",
    "CREATE INDEX ix_appointment_slots_clinic_id ON appointment_slots (clinic_id)",
    "CREATE INDEX ix_appointment_slots_slot_datetime ON appointment_slots (slot_datetime, id)",
    """CREATE INDEX ix_appointment_slots_doctor_id_slot_datetime
       ON appointment_slots (doctor_id, slot_datetime, id) WHERE is_active""",
    """CREATE INDEX ix_appointment_slots_clinic_id_slot_datetime
       ON appointment_slots (clinic_id, slot_datetime, id) WHERE is_active""",
    "CREATE INDEX ix_appointments_patient_id ON appointments (patient_id)",
    "CREATE INDEX ix_appointments_doctor_id ON appointments (doctor_id)",
    "CREATE INDEX ix_appointments_clinic_id ON appointments (clinic_id)",
    "CREATE INDEX ix_appointments_slot_id ON appointments (slot_id)",
    """CREATE UNIQUE INDEX ix_appointments_slot_id_patient_id
       ON appointments (slot_id, patient_id) WHERE status IN ('pending', 'confirmed')""",
    "CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)",
)

NAMES = (
    "idempotency_keys", "appointments", "appointment_slots", "doctor_days", "doctors", "patients", "clinic_staff",
    "clinics", "users",
)  # fmt: skip


def upgrade() -> None:
    for statement in TABLES + INDEXES:
        op.execute(statement)


def downgrade() -> None:
    for name in NAMES:
        op.execute(f"DROP TABLE {name}")
    op.execute("DROP TYPE appointment_status")
    op.execute("DROP TYPE user_role")
