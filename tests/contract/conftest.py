"""The world that the examples of the documentation speak of: its ids are theirs."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from health_services.auth.schemas import EmailVerification, PasswordReset
from health_services.invitations.schemas import InvitationAccept
from health_services.sessions.schemas import RefreshTokenGiven
from tests.conftest import TABLES
from tests.factories import World
from tests.sessions.staging import make_tokens

STAY = """
    CREATE FUNCTION zz_session_stays() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.ended_at = NULL; NEW.ended_reason = NULL; RETURN NEW; END $$;
    CREATE TRIGGER zz_session_stays BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION zz_session_stays();
    CREATE FUNCTION zz_account_stays() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.is_active = OLD.is_active; NEW.role = OLD.role; RETURN NEW; END $$;
    CREATE TRIGGER zz_account_stays BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.erased_at IS NULL)
        EXECUTE FUNCTION zz_account_stays();"""


@dataclass(frozen=True)
class Documented:
    """The header of each role in a world where patient, doctor, clinic, slot and appointment 1 belong together."""

    headers: dict[str, dict[str, str]]


@pytest.fixture
async def documented(world: World) -> AsyncIterator[Documented]:
    """User 1 is patient 1; user 2 is to become a doctor, and user 3 to join the clinic; slot 1 is free."""
    await world.owner.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
    patient = await world.patient()
    applicant, newcomer = await world.user("doctor"), await world.user("staff")
    clinic = await world.clinic()
    doctor = await world.doctor(clinic)
    slot, taken = await world.slot(doctor, capacity=3), await world.slot(doctor)
    appointment = await world.appointment(patient, doctor, taken)
    staff, admin = await world.staff(clinic), await world.admin()
    # what belongs to nobody here
    elsewhere = await world.doctor()
    await world.appointment(await world.patient(), elsewhere, await world.slot(elsewhere, capacity=2))
    await _messages(world)
    await _tokens(world)
    assert (patient.user_id, applicant.user_id, newcomer.user_id) == (1, 2, 3)
    assert patient.patient_id == clinic == doctor.doctor_id == slot == appointment == 1
    # or he would erase himself half way
    await world.owner.execute("UPDATE sessions SET authenticated_at = now() - interval '1 hour' WHERE user_id = 1")
    async with _who_stay(world):
        yield Documented(
            {
                "anonymous": {},
                "patient": patient.headers,
                "doctor": doctor.headers,
                "staff": staff.headers,
                "admin": admin.headers,
            }
        )


@asynccontextmanager
async def _who_stay(world: World) -> AsyncIterator[None]:
    """Nothing ends a session or closes an account: whoever signs himself out would find only closed doors."""
    await world.owner.execute(STAY)
    yield
    await world.owner.execute("DROP FUNCTION zz_session_stays CASCADE; DROP FUNCTION zz_account_stays CASCADE")


async def _messages(world: World) -> None:
    """A message that was given up, and a webhook with such a delivery."""
    for table, values in (
        (
            "notifications (kind, channel, user_id, subject, state, due_at, next_attempt_at)",
            "'security_notice', 'email', 1, 'x', 'failed', now(), now()",
        ),
        (
            "webhooks (url, events, secret, is_active)",
            "'https://hooks.example.org', '{appointment.booked}', '', true",
        ),
        ("webhook_deliveries (webhook_id, event, subject, body, state)", "1, 'slot.created', 'slot:1', '{}', 'failed'"),
    ):
        await world.owner.execute(f"INSERT INTO {table} VALUES ({values})")


async def _tokens(world: World) -> None:
    """The tokens of the examples, of people who belong to nobody here."""
    invited = await world.user("doctor", password_hash=None)
    token = InvitationAccept.model_json_schema()["examples"][0]["token"]
    await world.owner.execute(
        """INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at)
           VALUES ($1, 'invitation', $2, now() + interval '1 day')""",
        *(hashlib.sha256(token.encode()).digest(), invited.user_id),
    )
    examples = {
        "refresh_token": RefreshTokenGiven.model_json_schema()["examples"][0]["refresh_token"],
        "password_reset": PasswordReset.model_json_schema()["examples"][0]["token"],
        "email_verification": EmailVerification.model_json_schema()["examples"][0]["token"],
    }
    await make_tokens(world, await world.user(), examples)
