"""What was told to a person, and to others about his appointments."""

from health_services.privacy.holding import OWN, SECRET, Emptied, Holding, Removed

CONTACTS = (
    Holding(
        table="notifications",
        kind="messages",
        about="What was and will be sent to you: of which kind, how, when.",
        whose=OWN,
        shown=(
            "id", "kind", "channel", "appointment_id", "lead_minutes", "starts_at", "expires_at", "state", "due_at",
            "attempts", "last_error", "is_unreachable", "sent_at", "created_at", "updated_at",
        ),
        computed={"tells_of": "t.data ->> 'about'"},
        withheld={
            "data": "what the sentences need besides; a link that lets its reader in may be among it",
            "dedupe_key": "made of the others", "subject": "told by what it is about",
            "revision": "how often the appointment was changed by then", "next_attempt_at": "of the sending alone",
        },
        erasure=Emptied(
            {
                "data": "'{}'::jsonb", "last_error": "NULL", "is_unreachable": "false",
                "state": "CASE t.state WHEN 'queued' THEN 'skipped' ELSE t.state END",
            },
            unless_done="(t.data <> '{}'::jsonb OR t.last_error IS NOT NULL OR t.is_unreachable OR t.state = 'queued')",
            stays=(
                "id", "dedupe_key", "kind", "channel", "user_id", "appointment_id", "subject", "revision",
                "lead_minutes", "starts_at", "expires_at", "due_at", "next_attempt_at", "attempts", "sent_at",
                "created_at", "updated_at",
            ),
            why="that something was sent, of which kind and when; the words are not kept by anybody",
        ),
    ),
    Holding(
        table="notification_preferences",
        kind="preferences",
        about="How you want to be told.",
        whose=OWN,
        shown=(
            "channels", "reminder_lead_minutes", "quiet_from", "quiet_until", "time_zone", "locale", "created_at",
            "updated_at",
        ),
        is_single=True,
        order="user_id",
        erasure=Removed(),
    ),
    Holding(
        table="push_subscriptions",
        kind="push_subscriptions",
        about="Browsers that messages are pushed to.",
        whose=OWN,
        shown=("id", "failing_since", "held_until", "created_at", "updated_at"),
        computed={"endpoint_host": "substring(t.endpoint FROM '^[a-z]+://([^/:?#]+)')"},
        withheld={"endpoint": "whoever has it can push to the browser", "p256dh": SECRET, "auth": SECRET},
        erasure=Removed(),
    ),
    Holding(
        table="calendar_feeds",
        kind="calendar_feed",
        about="Since when there is a secret address of your calendar.",
        whose=OWN,
        shown=("created_at",),
        withheld={"token_hash": SECRET},
        is_single=True,
        order="user_id",
        erasure=Removed(),
    ),
    Holding(
        table="webhook_deliveries",
        kind="told_to_other_systems",
        about="Which other systems were told of your appointments, and when.",
        whose="""t.subject IN (SELECT 'appointment:' || a.id FROM appointments a
                              WHERE a.patient_id = CAST(:patient_id AS bigint))""",
        shown=("id", "event", "subject", "state", "sent_at", "created_at"),
        computed={"recipient": """(SELECT substring(w.url FROM '^[a-z]+://([^/:?#]+)')
                                   FROM webhooks w WHERE w.id = t.webhook_id)"""},
        withheld={
            "body": "your appointment as it was then, without any text of yours",
            **dict.fromkeys(
                (
                    "webhook_id", "message_id", "next_attempt_at", "attempts", "first_attempt_at", "response_status",
                    "last_error", "updated_at",
                ),
                "of the sending alone",
            ),
        },
        erasure=Emptied(
            {"body": "''"},
            # What still waits tells other systems that the visit is cancelled; it is forgotten once it is sent.
            unless_done="t.body <> '' AND t.state <> 'queued'",
            stays=(
                "id", "webhook_id", "message_id", "event", "subject", "state", "next_attempt_at", "attempts",
                "first_attempt_at", "response_status", "last_error", "sent_at", "created_at", "updated_at",
            ),
            why="whom else something was told, and when",
        ),
    ),
)  # fmt: skip
