"""What an idempotency key was used for is answered in one round trip, the one that tells who is calling."""

from alembic import op

revision = "0008"
down_revision = "0007"

# The lock tells of a first request that is still under way: the row of an open transaction cannot be seen. The row is
# read by a statement of its own, whose snapshot is younger than the lock. Row-level security shows only one's own.
ASKED_BEFORE = """
CREATE FUNCTION asked_before(account bigint, key bytea, lifetime interval) RETURNS TABLE (
    is_alone boolean, kept_request_hash bytea, kept_status integer, kept_answer bytea
) LANGUAGE plpgsql ROWS 1 SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    is_alone := pg_try_advisory_xact_lock(hashtextextended(encode(key, 'hex'), account));
    SELECT k.request_hash, k.status, k.answer INTO kept_request_hash, kept_status, kept_answer
        FROM idempotency_keys k
        WHERE k.user_id = account AND k.key_hash = key AND k.created_at > now() - lifetime;
    RETURN NEXT;
END $$"""


def upgrade() -> None:
    op.execute(ASKED_BEFORE)
    op.execute("REVOKE ALL ON FUNCTION asked_before(bigint, bytea, interval) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION asked_before(bigint, bytea, interval) TO health_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION asked_before(bigint, bytea, interval)")
