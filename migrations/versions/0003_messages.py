"""The ledger of messages and what belongs to it: preferences, push subscriptions, calendar feeds, webhooks.

Nothing here notifies: commits that do are serialised. The worker polls.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

# Whoever writes there ends first, in the order in which bookings lock, while reading goes on. Taken one by one as they
# are needed, the locks would meet those of a slot that is taken back crosswise.
LOCK = "LOCK TABLE appointments, appointment_slots, users IN SHARE ROW EXCLUSIVE MODE"
LOCK_ALL = "LOCK TABLE appointments, appointment_slots, users, notifications IN ACCESS EXCLUSIVE MODE"
# A constant default needs no rewrite of the table: its lock lasts for an instant.
REVISION = "ALTER TABLE appointments ADD COLUMN revision integer NOT NULL DEFAULT 0"

KINDS = (
    "'appointment_booked', 'appointment_confirmed', 'appointment_cancelled', 'appointment_rescheduled', "
    "'appointment_reminder', 'waitlist_offer', 'email_verification', 'password_reset', 'security_notice'"
)
CHANNELS = "'email', 'sms', 'push'"
STATES = "'queued', 'sent', 'failed', 'skipped'"

TABLES = (
    # Names this installation in the identifiers of its calendar entries, which live on in other people's calendars.
    """
    CREATE TABLE installation (
        is_only boolean NOT NULL DEFAULT true CONSTRAINT pk_installation PRIMARY KEY
            CONSTRAINT ck_installation_is_only CHECK (is_only),
        id uuid NOT NULL DEFAULT gen_random_uuid(),
        older_bookings_until timestamptz
    )""",
    # Processes of the version before, which plan no reminders, may book until they are replaced.
    """INSERT INTO installation (older_bookings_until)
       SELECT CASE WHEN EXISTS (SELECT FROM appointments) THEN now() + interval '7 days' END""",
    """
    CREATE TABLE notification_preferences (
        user_id bigint NOT NULL CONSTRAINT pk_notification_preferences PRIMARY KEY
            CONSTRAINT fk_notification_preferences_user_id REFERENCES users,
        channels jsonb NOT NULL DEFAULT '{}',
        reminder_lead_minutes integer[] NOT NULL DEFAULT '{1440,120}',
        quiet_from time,
        quiet_until time,
        time_zone varchar,
        locale varchar,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_notification_preferences_quiet_hours CHECK ((quiet_from IS NULL) = (quiet_until IS NULL))
    )""",
    """
    CREATE TABLE push_subscriptions (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_push_subscriptions PRIMARY KEY,
        user_id bigint NOT NULL CONSTRAINT fk_push_subscriptions_user_id REFERENCES users,
        endpoint varchar NOT NULL,
        p256dh varchar NOT NULL,
        auth varchar NOT NULL,
        failing_since timestamptz,
        held_until timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_push_subscriptions_held_until CHECK ((failing_since IS NULL) = (held_until IS NULL))
    )""",
    f"""
    CREATE TABLE notifications (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_notifications PRIMARY KEY,
        dedupe_key varchar NOT NULL GENERATED ALWAYS AS (
            kind || '/' || user_id::text || '/' || channel || '/' || subject || '/' || revision::text || '/'
            || COALESCE(lead_minutes::text, '-')) STORED,
        kind varchar NOT NULL CONSTRAINT ck_notifications_kind CHECK (kind IN ({KINDS})),
        channel varchar NOT NULL CONSTRAINT ck_notifications_channel CHECK (channel IN ({CHANNELS})),
        user_id bigint NOT NULL CONSTRAINT fk_notifications_user_id REFERENCES users,
        appointment_id bigint CONSTRAINT fk_notifications_appointment_id REFERENCES appointments,
        subject varchar NOT NULL,
        revision integer NOT NULL DEFAULT 0,
        lead_minutes integer,
        starts_at timestamptz,
        expires_at timestamptz,
        data jsonb NOT NULL DEFAULT '{{}}',
        state varchar NOT NULL DEFAULT 'queued' CONSTRAINT ck_notifications_state CHECK (state IN ({STATES})),
        due_at timestamptz NOT NULL,
        next_attempt_at timestamptz NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        last_error varchar,
        is_unreachable boolean NOT NULL DEFAULT false,
        sent_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_notifications_subject
            CHECK (appointment_id IS NULL OR subject = 'appointment:' || appointment_id::text)
    ) WITH (fillfactor = 80)""",
    """
    CREATE TABLE calendar_feeds (
        user_id bigint NOT NULL CONSTRAINT pk_calendar_feeds PRIMARY KEY
            CONSTRAINT fk_calendar_feeds_user_id REFERENCES users,
        token_hash bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )""",
    """
    CREATE TABLE webhooks (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_webhooks PRIMARY KEY,
        url varchar NOT NULL,
        events varchar[] NOT NULL,
        secret bytea NOT NULL,
        previous_secret bytea,
        previous_secret_until timestamptz,
        is_active boolean NOT NULL DEFAULT true,
        disabled_reason varchar,
        failing_since timestamptz,
        held_until timestamptz,
        deleted_at timestamptz,
        created_by_user_id bigint CONSTRAINT fk_webhooks_created_by_user_id REFERENCES users,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT ck_webhooks_held_until CHECK ((failing_since IS NULL) = (held_until IS NULL))
    )""",
    # No foreign key to webhooks: each booking would lock the one row that it concerns, and nothing removes a webhook.
    f"""
    CREATE TABLE webhook_deliveries (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_webhook_deliveries PRIMARY KEY,
        webhook_id bigint NOT NULL,
        message_id uuid NOT NULL DEFAULT gen_random_uuid(),
        event varchar NOT NULL,
        subject varchar NOT NULL,
        body varchar NOT NULL,
        state varchar NOT NULL DEFAULT 'queued' CONSTRAINT ck_webhook_deliveries_state CHECK (state IN ({STATES})),
        next_attempt_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0,
        first_attempt_at timestamptz,
        response_status integer,
        last_error varchar,
        sent_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 80)""",
)

INDEXES = (
    "CREATE UNIQUE INDEX ix_push_subscriptions_endpoint ON push_subscriptions (endpoint)",
    "CREATE INDEX ix_push_subscriptions_user_id ON push_subscriptions (user_id)",
    "CREATE UNIQUE INDEX ix_notifications_dedupe_key ON notifications (dedupe_key)",
    "CREATE INDEX ix_notifications_appointment_id ON notifications (appointment_id)",
    """CREATE INDEX ix_notifications_channel_next_attempt_at
       ON notifications (channel, next_attempt_at) WHERE state = 'queued'""",
    # How old the oldest message is that was tried in vain; a booking's, which nobody has tried, cost nothing here.
    """CREATE INDEX ix_notifications_channel_due_at_tried
       ON notifications (channel, due_at) WHERE state = 'queued' AND attempts > 0""",
    "CREATE INDEX ix_notifications_failed ON notifications (id) WHERE state = 'failed'",
    "CREATE INDEX ix_notifications_channel_failed ON notifications (channel, id) WHERE state = 'failed'",
    """CREATE INDEX ix_notifications_unreachable ON notifications (COALESCE(expires_at, 'infinity'), id)
       WHERE is_unreachable""",
    # What a list of a seldom kind or channel finds without reading all the rest; usual messages cost nothing here.
    "CREATE INDEX ix_notifications_other_channels ON notifications (id) WHERE channel <> 'email'",
    """CREATE INDEX ix_notifications_other_kinds ON notifications (id)
       WHERE kind NOT IN ('appointment_booked', 'appointment_cancelled', 'appointment_reminder')""",
    "CREATE UNIQUE INDEX ix_calendar_feeds_token_hash ON calendar_feeds (token_hash)",
    "CREATE INDEX ix_webhook_deliveries_webhook_id ON webhook_deliveries (webhook_id, id)",
    """CREATE INDEX ix_webhook_deliveries_next_attempt_at
       ON webhook_deliveries (webhook_id, next_attempt_at) WHERE state = 'queued'""",
    """CREATE INDEX ix_webhook_deliveries_created_at_tried
       ON webhook_deliveries (webhook_id, created_at) WHERE state = 'queued' AND attempts > 0""",
    """CREATE INDEX ix_webhook_deliveries_subject
       ON webhook_deliveries (webhook_id, subject, id) WHERE state = 'queued'""",
    "CREATE INDEX ix_webhook_deliveries_failed ON webhook_deliveries (id) WHERE state = 'failed'",
)

# Whoever changes an appointment raises its revision: the SEQUENCE of its calendar entry (RFC 5545, 3.8.7.4).
RAISE_REVISION = """
CREATE FUNCTION appointments_raise_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END $$"""

# A slot that moves takes its appointments and the count of its day along, and lets the worker look at their reminders
# again.
MOVE_SLOT = """
CREATE FUNCTION appointment_slots_move_appointments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    UPDATE appointments SET revision = revision + 1, updated_at = now()
        WHERE slot_id = NEW.id AND status IN ('pending', 'confirmed');
    IF NEW.local_date <> OLD.local_date AND NEW.booked_count > 0 THEN
        PERFORM doctor_days_count(NEW.doctor_id, OLD.local_date, -NEW.booked_count);
        PERFORM doctor_days_count(NEW.doctor_id, NEW.local_date, NEW.booked_count);
    END IF;
    UPDATE notifications SET next_attempt_at = now()
        WHERE state = 'queued' AND kind = 'appointment_reminder'
          AND appointment_id IN (SELECT id FROM appointments WHERE slot_id = NEW.id);
    -- Where none waits any more, one without a lead time lets the worker plan them anew.
    INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, revision, starts_at, expires_at,
                               due_at, next_attempt_at)
        SELECT 'appointment_reminder', 'email', p.user_id, a.id, 'appointment:' || a.id, a.revision,
               NEW.slot_datetime, NEW.slot_datetime, now(), now()
        FROM appointments a JOIN patients p ON p.id = a.patient_id
        WHERE a.slot_id = NEW.id AND a.status IN ('pending', 'confirmed')
          AND NEW.slot_datetime <> OLD.slot_datetime
          AND NOT EXISTS (SELECT FROM notifications n WHERE n.appointment_id = a.id AND n.state = 'queued'
                          AND n.kind = 'appointment_reminder')
        ON CONFLICT (dedupe_key) DO NOTHING;
    RETURN NULL;
END $$"""

# What is out is out: queued again, it would be sent again.
KEEP_SENT = """
CREATE FUNCTION notifications_keep_sent() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a message that was sent stays sent'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_notifications_sent';
END $$"""

TRIGGERS = (
    """CREATE TRIGGER appointments_raise_revision
       BEFORE UPDATE OF status, is_active ON appointments
       FOR EACH ROW WHEN ((OLD.status, OLD.is_active) IS DISTINCT FROM (NEW.status, NEW.is_active))
       EXECUTE FUNCTION appointments_raise_revision()""",
    """CREATE TRIGGER appointment_slots_move_appointments
       AFTER UPDATE OF slot_datetime, duration_minutes ON appointment_slots
       FOR EACH ROW WHEN ((OLD.slot_datetime, OLD.duration_minutes)
                          IS DISTINCT FROM (NEW.slot_datetime, NEW.duration_minutes))
       EXECUTE FUNCTION appointment_slots_move_appointments()""",
    """CREATE TRIGGER notifications_keep_sent
       BEFORE UPDATE OF state, sent_at, starts_at ON notifications
       FOR EACH ROW WHEN (OLD.state = 'sent'
                          AND (NEW.state, NEW.sent_at, NEW.starts_at)
                              IS DISTINCT FROM (OLD.state, OLD.sent_at, OLD.starts_at))
       EXECUTE FUNCTION notifications_keep_sent()""",
)

# All that the planning of a person's messages needs to know of him, so that a booking reads it along.
CONTACT = """
CREATE FUNCTION contact_of(account bigint) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'user_id', u.id,
        'has_email', u.email IS NOT NULL,
        'has_mobile', u.mobile_no IS NOT NULL,
        'has_push', EXISTS (SELECT FROM push_subscriptions s WHERE s.user_id = u.id),
        'channels', COALESCE(p.channels, '{}'),
        'reminder_lead_minutes', COALESCE(to_jsonb(p.reminder_lead_minutes), '[1440, 120]'),
        'quiet_from', p.quiet_from,
        'quiet_until', p.quiet_until,
        'time_zone', p.time_zone)
    FROM users u LEFT JOIN notification_preferences p ON p.user_id = u.id
    WHERE u.id = account
$$"""

# What a message or a calendar says of an appointment: nothing clinical.
DETAILS = """
CREATE VIEW appointment_details WITH (security_invoker = true) AS
SELECT a.id AS appointment_id, a.patient_id, a.doctor_id, a.clinic_id, a.status::varchar AS status, a.revision,
       a.is_active, a.created_at, a.updated_at, a.status IN ('pending', 'confirmed') AS is_live,
       s.slot_datetime AS starts_at, s.slot_datetime + make_interval(mins => s.duration_minutes) AS ends_at,
       p.user_id AS patient_user_id, p.is_active AS patient_is_active,
       d.user_id AS doctor_user_id, u.name AS doctor_name,
       c.name AS clinic_name, c.address AS clinic_address, c.zip_code AS clinic_zip_code, c.city AS clinic_city,
       c.phone AS clinic_phone, c.email AS clinic_email, c.time_zone,
       'appointment-' || a.id || '@' || i.id AS calendar_uid
FROM appointments a
JOIN appointment_slots s ON s.id = a.slot_id
JOIN patients p ON p.id = a.patient_id
JOIN doctors d ON d.id = a.doctor_id
JOIN users u ON u.id = d.user_id
JOIN clinics c ON c.id = a.clinic_id
CROSS JOIN installation i"""

RIGHTS = (
    """GRANT SELECT ON installation, notification_preferences, push_subscriptions, notifications, calendar_feeds,
             webhooks, webhook_deliveries, appointment_details TO health_app""",
    """GRANT INSERT (user_id, channels, reminder_lead_minutes, quiet_from, quiet_until, time_zone, locale),
             UPDATE (channels, reminder_lead_minutes, quiet_from, quiet_until, time_zone, locale, updated_at)
       ON notification_preferences TO health_app""",
    """GRANT INSERT (user_id, endpoint, p256dh, auth),
             UPDATE (user_id, p256dh, auth, failing_since, held_until, updated_at), DELETE
       ON push_subscriptions TO health_app""",
    # No DELETE: what was or was not sent stays on record.
    """GRANT INSERT (kind, channel, user_id, appointment_id, subject, revision, lead_minutes, starts_at,
                     expires_at, data, state, due_at, next_attempt_at, last_error, is_unreachable),
             UPDATE (starts_at, expires_at, state, due_at, next_attempt_at, attempts, last_error, is_unreachable,
                     sent_at, updated_at)
       ON notifications TO health_app""",
    "GRANT INSERT (user_id, token_hash), UPDATE (token_hash, created_at), DELETE ON calendar_feeds TO health_app",
    """GRANT INSERT (url, events, secret, created_by_user_id),
             UPDATE (url, events, secret, previous_secret, previous_secret_until, is_active, disabled_reason,
                     failing_since, held_until, deleted_at, updated_at)
       ON webhooks TO health_app""",
    """GRANT INSERT (webhook_id, event, subject, body),
             UPDATE (state, next_attempt_at, attempts, first_attempt_at, response_status, last_error, sent_at,
                     updated_at)
       ON webhook_deliveries TO health_app""",
)

# Called by triggers, and by nobody else.
GUARDS = ("appointments_raise_revision()", "appointment_slots_move_appointments()", "notifications_keep_sent()")
NAMES = (
    "webhook_deliveries", "webhooks", "calendar_feeds", "notifications", "push_subscriptions",
    "notification_preferences", "installation",
)  # fmt: skip


def upgrade() -> None:
    for statement in (
        LOCK, REVISION, *TABLES, *INDEXES, RAISE_REVISION, MOVE_SLOT, KEEP_SENT, *TRIGGERS, CONTACT, DETAILS, *RIGHTS,
    ):  # fmt: skip
        op.execute(statement)
    for function in (*GUARDS, "contact_of(bigint)"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION contact_of(bigint) TO health_app")


def downgrade() -> None:
    op.execute(LOCK_ALL)
    op.execute("DROP VIEW appointment_details")
    op.execute("DROP TRIGGER appointments_raise_revision ON appointments")
    op.execute("DROP TRIGGER appointment_slots_move_appointments ON appointment_slots")
    for name in NAMES:
        op.execute(f"DROP TABLE {name}")
    for function in (*GUARDS, "contact_of(bigint)"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("ALTER TABLE appointments DROP COLUMN revision")
