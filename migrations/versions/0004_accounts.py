"""Accounts that a hospital can trust: sessions, second factors, API keys, one-time tokens, break-glass.

Nothing here stands in the clear that would let anybody in: tokens and keys as hashes, secrets of authenticators sealed
by the application. docs/security.md tells what each is for.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

LOCK = "LOCK TABLE users, doctors, patients IN SHARE ROW EXCLUSIVE MODE"

TABLES = (
    # One sign-in on one device: the family of its refresh tokens. `authenticated_at` is when the person last proved
    # who he is, `methods` how (RFC 8176).
    """
    CREATE TABLE sessions (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_sessions PRIMARY KEY,
        user_id bigint NOT NULL CONSTRAINT fk_sessions_user_id REFERENCES users,
        client varchar,
        address varchar,
        is_cookie boolean NOT NULL DEFAULT false,
        methods varchar[] NOT NULL DEFAULT '{pwd}',
        authenticated_at timestamptz NOT NULL DEFAULT now(),
        last_used_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        ended_at timestamptz,
        ended_reason varchar,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_sessions_ended CHECK ((ended_at IS NULL) = (ended_reason IS NULL))
    ) WITH (fillfactor = 80)""",
    # `successor` is the next token, encrypted with a key made of this one: whoever lost the answer asks again with the
    # token that he has, and gets the same.
    """
    CREATE TABLE refresh_tokens (
        token_hash bytea NOT NULL CONSTRAINT pk_refresh_tokens PRIMARY KEY,
        session_id bigint NOT NULL CONSTRAINT fk_refresh_tokens_session_id REFERENCES sessions ON DELETE CASCADE,
        user_id bigint NOT NULL CONSTRAINT fk_refresh_tokens_user_id REFERENCES users,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        successor bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_refresh_tokens_used CHECK ((used_at IS NULL) = (successor IS NULL))
    )""",
    # What a mail or a half-finished sign-in carries; used once.
    """
    CREATE TABLE one_time_tokens (
        token_hash bytea NOT NULL CONSTRAINT pk_one_time_tokens PRIMARY KEY,
        purpose varchar NOT NULL CONSTRAINT ck_one_time_tokens_purpose CHECK (purpose IN (
            'email_verification', 'password_reset', 'invitation', 'mfa', 'passkey_registration', 'passkey_login')),
        user_id bigint CONSTRAINT fk_one_time_tokens_user_id REFERENCES users,
        data jsonb NOT NULL DEFAULT '{}',
        attempts integer NOT NULL DEFAULT 0,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_one_time_tokens_user_id CHECK (user_id IS NOT NULL OR purpose = 'passkey_login')
    )""",
    # `next_secret` waits for its first code; until then the one before counts.
    """
    CREATE TABLE totp_authenticators (
        user_id bigint NOT NULL CONSTRAINT pk_totp_authenticators PRIMARY KEY
            CONSTRAINT fk_totp_authenticators_user_id REFERENCES users,
        secret varchar,
        next_secret varchar,
        last_step bigint NOT NULL DEFAULT 0,
        confirmed_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_totp_authenticators_confirmed CHECK ((secret IS NULL) = (confirmed_at IS NULL))
    )""",
    """
    CREATE TABLE recovery_codes (
        user_id bigint NOT NULL CONSTRAINT fk_recovery_codes_user_id REFERENCES users,
        code_hash bytea NOT NULL,
        used_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, code_hash)
    )""",
    """
    CREATE TABLE passkeys (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_passkeys PRIMARY KEY,
        user_id bigint NOT NULL CONSTRAINT fk_passkeys_user_id REFERENCES users,
        name varchar NOT NULL,
        credential_id bytea NOT NULL,
        public_key bytea NOT NULL,
        sign_count bigint NOT NULL DEFAULT 0,
        transports varchar[] NOT NULL DEFAULT '{}',
        is_backed_up boolean NOT NULL DEFAULT false,
        last_used_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE api_keys (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_api_keys PRIMARY KEY,
        user_id bigint NOT NULL CONSTRAINT fk_api_keys_user_id REFERENCES users,
        name varchar NOT NULL,
        prefix varchar NOT NULL,
        secret_hash bytea NOT NULL,
        scopes varchar[] NOT NULL,
        expires_at timestamptz,
        last_used_at timestamptz,
        revoked_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE emergency_accesses (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_emergency_accesses PRIMARY KEY,
        patient_id bigint NOT NULL CONSTRAINT fk_emergency_accesses_patient_id REFERENCES patients,
        doctor_id bigint NOT NULL CONSTRAINT fk_emergency_accesses_doctor_id REFERENCES doctors,
        reason varchar NOT NULL,
        expires_at timestamptz NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    # The directory is public, accounts are not: a doctor's name stands in both.
    "ALTER TABLE doctors ADD COLUMN name varchar NOT NULL DEFAULT ''",
    "UPDATE doctors d SET name = u.name FROM users u WHERE u.id = d.user_id",
    # What is erased stays erased, whoever writes; `erased_reason` is sealed.
    """
    ALTER TABLE users ADD COLUMN erased_at timestamptz, ADD CONSTRAINT ck_users_erased CHECK (
        erased_at IS NULL OR NOT is_active AND name = 'Erased person' AND email IS NULL AND password_hash IS NULL
        AND mobile_no IS NULL AND address IS NULL)""",
    """
    ALTER TABLE patients ADD COLUMN erased_at timestamptz, ADD COLUMN erased_reason varchar,
        ADD CONSTRAINT ck_patients_erased CHECK (
            erased_at IS NULL OR NOT is_active AND date_of_birth IS NULL AND blood_group IS NULL AND allergies IS NULL
            AND emergency_contact IS NULL AND sex IS NULL AND preferred_language IS NULL)""",
)

INDEXES = (
    "CREATE INDEX ix_sessions_user_id ON sessions (user_id) WHERE ended_at IS NULL",
    "CREATE INDEX ix_sessions_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL",
    "CREATE INDEX ix_sessions_expires_at ON sessions (expires_at) WHERE ended_at IS NULL",
    "CREATE INDEX ix_refresh_tokens_session_id ON refresh_tokens (session_id)",
    "CREATE INDEX ix_refresh_tokens_user_id ON refresh_tokens (user_id)",
    "CREATE INDEX ix_one_time_tokens_user_id ON one_time_tokens (user_id, purpose)",
    "CREATE INDEX ix_one_time_tokens_expires_at ON one_time_tokens (expires_at)",
    "CREATE INDEX ix_passkeys_user_id ON passkeys (user_id)",
    "CREATE UNIQUE INDEX ix_passkeys_credential_id ON passkeys (credential_id)",
    "CREATE INDEX ix_api_keys_user_id ON api_keys (user_id)",
    "CREATE UNIQUE INDEX ix_api_keys_prefix ON api_keys (prefix)",
    "CREATE INDEX ix_emergency_accesses_patient_id ON emergency_accesses (patient_id, doctor_id)",
    "CREATE INDEX ix_users_role ON users (role, id)",
    "CREATE INDEX ix_users_erased_at ON users (erased_at) WHERE erased_at IS NOT NULL",
)

# Whoever changes a password, a role or whether an account is active ends its sessions, psql included. A hash that is
# made anew of the same password, since its cost has changed, ends nothing.
END_SESSIONS = """
CREATE FUNCTION users_end_sessions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.role = OLD.role AND NEW.is_active = OLD.is_active
            AND current_setting('app.is_rehash', true) = 'on' THEN
        RETURN NULL;
    END IF;
    UPDATE sessions SET ended_at = now(), ended_reason = CASE
            WHEN NEW.is_active <> OLD.is_active THEN 'account changed'
            WHEN NEW.role <> OLD.role THEN 'role changed' ELSE 'password changed' END
        WHERE user_id = NEW.id AND ended_at IS NULL;
    IF NEW.password_hash IS DISTINCT FROM OLD.password_hash OR NOT NEW.is_active THEN
        UPDATE one_time_tokens SET used_at = now()
            WHERE user_id = NEW.id AND used_at IS NULL AND purpose IN ('password_reset', 'invitation', 'mfa');
    END IF;
    RETURN NULL;
END $$"""

NAME_DOCTOR = """
CREATE FUNCTION doctors_set_name() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    SELECT name INTO NEW.name FROM users WHERE id = NEW.user_id;
    NEW.name := COALESCE(NEW.name, '');
    RETURN NEW;
END $$"""

RENAME_DOCTOR = """
CREATE FUNCTION users_rename_doctor() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE doctors SET name = NEW.name, updated_at = now() WHERE user_id = NEW.id;
    RETURN NULL;
END $$"""

TRIGGERS = (
    """CREATE TRIGGER users_end_sessions
       AFTER UPDATE OF password_hash, role, is_active ON users
       FOR EACH ROW WHEN ((OLD.password_hash, OLD.role, OLD.is_active)
                          IS DISTINCT FROM (NEW.password_hash, NEW.role, NEW.is_active))
       EXECUTE FUNCTION users_end_sessions()""",
    """CREATE TRIGGER doctors_set_name BEFORE INSERT OR UPDATE OF user_id ON doctors
       FOR EACH ROW EXECUTE FUNCTION doctors_set_name()""",
    """CREATE TRIGGER users_rename_doctor AFTER UPDATE OF name ON users
       FOR EACH ROW WHEN (OLD.name <> NEW.name AND NEW.erased_at IS NULL)
       EXECUTE FUNCTION users_rename_doctor()""",
)

RIGHTS = (
    """GRANT SELECT ON sessions, refresh_tokens, one_time_tokens, totp_authenticators, recovery_codes, passkeys,
             api_keys, emergency_accesses TO health_app""",
    """GRANT INSERT (user_id, client, address, is_cookie, methods, authenticated_at, last_used_at, expires_at),
             UPDATE (client, address, methods, authenticated_at, last_used_at, ended_at, ended_reason), DELETE
       ON sessions TO health_app""",
    """GRANT INSERT (token_hash, session_id, user_id, expires_at), UPDATE (used_at, successor), DELETE
       ON refresh_tokens TO health_app""",
    """GRANT INSERT (token_hash, purpose, user_id, data, expires_at), UPDATE (used_at, attempts, data), DELETE
       ON one_time_tokens TO health_app""",
    """GRANT INSERT (user_id, next_secret), UPDATE (secret, next_secret, last_step, confirmed_at), DELETE
       ON totp_authenticators TO health_app""",
    "GRANT INSERT (user_id, code_hash), UPDATE (used_at), DELETE ON recovery_codes TO health_app",
    """GRANT INSERT (user_id, name, credential_id, public_key, sign_count, transports, is_backed_up),
             UPDATE (name, sign_count, is_backed_up, last_used_at), DELETE
       ON passkeys TO health_app""",
    """GRANT INSERT (user_id, name, prefix, secret_hash, scopes, expires_at),
             UPDATE (last_used_at, revoked_at, name), DELETE
       ON api_keys TO health_app""",
    "GRANT INSERT (patient_id, doctor_id, reason, expires_at), UPDATE (reason) ON emergency_accesses TO health_app",
    "GRANT INSERT (erased_at), UPDATE (erased_at) ON users TO health_app",
    "GRANT INSERT (erased_at, erased_reason), UPDATE (erased_at, erased_reason) ON patients TO health_app",
)

GUARDS = ("users_end_sessions()", "doctors_set_name()", "users_rename_doctor()")
NAMES = (
    "emergency_accesses", "api_keys", "passkeys", "recovery_codes", "totp_authenticators", "one_time_tokens",
    "refresh_tokens", "sessions",
)  # fmt: skip


def upgrade() -> None:
    for statement in (LOCK, *TABLES, *INDEXES, END_SESSIONS, NAME_DOCTOR, RENAME_DOCTOR, *TRIGGERS, *RIGHTS):
        op.execute(statement)
    for function in GUARDS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    op.execute("LOCK TABLE users, doctors, patients IN ACCESS EXCLUSIVE MODE")
    op.execute("DROP TRIGGER users_end_sessions ON users")
    op.execute("DROP TRIGGER users_rename_doctor ON users")
    op.execute("DROP TRIGGER doctors_set_name ON doctors")
    for function in GUARDS:
        op.execute(f"DROP FUNCTION {function}")
    op.execute("ALTER TABLE doctors DROP COLUMN name")
    op.execute("DROP INDEX ix_users_role")
    op.execute("ALTER TABLE users DROP COLUMN erased_at")
    op.execute("ALTER TABLE patients DROP COLUMN erased_at, DROP COLUMN erased_reason")
    for name in NAMES:
        op.execute(f"DROP TABLE {name}")
