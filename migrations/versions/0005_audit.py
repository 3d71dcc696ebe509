"""The audit: one row for each request about somebody, which nobody who serves requests can change or remove.

docs/decisions/0009-audit-sealed-afterwards.md tells how the chain is made without making writers wait.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = (
    # `xid` stands first, so that a transaction has its number before it draws an id: the sealer may then conclude that
    # no id below a known one can still come. No foreign keys: the audit outlives what it tells of, and locks nothing.
    """
    CREATE TABLE audit_log (
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_audit_log PRIMARY KEY,
        nonce uuid NOT NULL,
        at timestamptz NOT NULL,
        user_id bigint,
        via varchar,
        action varchar NOT NULL,
        object varchar,
        patient_ids bigint[] NOT NULL DEFAULT '{}',
        user_ids bigint[] NOT NULL DEFAULT '{}',
        address varchar,
        outcome varchar NOT NULL CONSTRAINT ck_audit_log_outcome CHECK (outcome IN ('success', 'refused', 'failed')),
        status smallint NOT NULL,
        request_id varchar NOT NULL,
        key_id varchar NOT NULL,
        mac bytea NOT NULL
    )""",
    # One for each entry, in the order of sealing, each over the one before; `floor` is the id below which none can come
    # any more. A checkpoint stands in the place of the last seal that was pruned, and keeps its mac; `signature` is
    # over that, since what the mac was made over is gone.
    """
    CREATE TABLE audit_seals (
        seq bigint NOT NULL CONSTRAINT pk_audit_seals PRIMARY KEY,
        entry_id bigint,
        floor bigint NOT NULL,
        kind varchar NOT NULL DEFAULT 'entry' CONSTRAINT ck_audit_seals_kind CHECK (kind IN ('entry', 'checkpoint')),
        sealed_at timestamptz NOT NULL DEFAULT now(),
        key_id varchar NOT NULL,
        mac bytea NOT NULL,
        signature bytea,
        CONSTRAINT ck_audit_seals_entry_id CHECK ((entry_id IS NULL) = (kind = 'checkpoint')),
        CONSTRAINT ck_audit_seals_signature CHECK ((signature IS NULL) = (kind = 'entry'))
    )""",
)
INDEXES = (
    # Nearly all requests concern one patient, which costs a plain entry; lists go to an index of their own.
    "CREATE INDEX ix_audit_log_patient ON audit_log ((patient_ids[1]), id) WHERE cardinality(patient_ids) = 1",
    "CREATE INDEX ix_audit_log_patients ON audit_log USING gin (patient_ids) WHERE cardinality(patient_ids) > 1",
    "CREATE INDEX ix_audit_log_account ON audit_log ((user_ids[1]), id) WHERE cardinality(user_ids) = 1",
    "CREATE INDEX ix_audit_log_accounts ON audit_log USING gin (user_ids) WHERE cardinality(user_ids) > 1",
    "CREATE INDEX ix_audit_log_user_id ON audit_log (user_id, id)",
    "CREATE INDEX ix_audit_log_at ON audit_log (at)",
    "CREATE UNIQUE INDEX ix_audit_seals_entry_id ON audit_seals (entry_id)",
)

# What a patient sees of who looked: the name of whoever it was stands in a row that he cannot see. The name of another
# patient, who was refused, is not shown even so. It answers nobody but the patient and administrators.
ACCESS_LOG = """
CREATE FUNCTION access_log_of(patient bigint, skip bigint, most bigint) RETURNS TABLE (
    id bigint, at timestamptz, user_id bigint, role user_role, name varchar, action varchar, object varchar,
    outcome varchar, via varchar
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT l.id, l.at, CASE WHEN w.is_shown THEN l.user_id END, u.role, CASE WHEN w.is_shown THEN u.name END,
           l.action, l.object, l.outcome, split_part(l.via, ':', 1)
    FROM (
        (SELECT * FROM audit_log WHERE cardinality(patient_ids) = 1 AND patient_ids[1] = patient
         ORDER BY id DESC LIMIT skip + most)
        UNION ALL
        (SELECT * FROM audit_log WHERE cardinality(patient_ids) > 1 AND patient_ids @> ARRAY[patient]
         ORDER BY id DESC LIMIT skip + most)
    ) l
    LEFT JOIN users u ON u.id = l.user_id
    CROSS JOIN LATERAL (
        SELECT u.role <> 'patient' OR l.outcome = 'success'
               OR EXISTS (SELECT FROM patients p WHERE p.id = patient AND p.user_id = u.id)
    ) w (is_shown)
    WHERE current_setting('app.role', true) = 'admin' OR current_setting('app.patient_id', true) = patient::text
    ORDER BY l.id DESC OFFSET skip LIMIT most
$$"""

RIGHTS = (
    "GRANT SELECT ON audit_log, audit_seals TO health_app",
    """GRANT INSERT (nonce, at, user_id, via, action, object, patient_ids, user_ids, address, outcome, status,
                     request_id, key_id, mac)
       ON audit_log TO health_app""",
    "GRANT INSERT (seq, entry_id, floor, kind, key_id, mac) ON audit_seals TO health_app",
)


def upgrade() -> None:
    for statement in (*TABLES, *INDEXES, ACCESS_LOG, *RIGHTS):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION access_log_of(bigint, bigint, bigint) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION access_log_of(bigint, bigint, bigint) TO health_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION access_log_of(bigint, bigint, bigint)")
    op.execute("DROP TABLE audit_seals")
    op.execute("DROP TABLE audit_log")
