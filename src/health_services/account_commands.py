"""The operator's commands that look after one account, by its e-mail address."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from health_services import serving
from health_services.audit.service import of_command
from health_services.auth.passwords import Passwords
from health_services.errors import OperatorError
from health_services.installation import Installation, Say
from health_services.second_factors.enrolment import remove_all
from health_services.settings import Settings
from health_services.users.repository import UserRepository

Work = Callable[[AsyncSession, Installation], Awaitable[Any]]


@dataclass(frozen=True)
class Accounts:
    """The commands, as one word each.

    `settings` reads the environment, `in_session` runs work in one transaction that sees everybody's rows, and
    `new_password` asks for one.
    """

    settings: Callable[[], Settings]
    in_session: Callable[[Work], Any]
    new_password: Callable[[], str]
    say: Say

    def group(self) -> typer.Typer:
        """All of them, to be mounted."""
        about = "Accounts: activate, deactivate, set a password, remove second factors."
        group = typer.Typer(help=about, no_args_is_help=True)
        for command in (self.deactivate, self.activate, self.set_password, self.reset_mfa):
            group.command()(command)
        return group

    def deactivate(self, email: str) -> None:
        """End an account's access at once; nothing of it is deleted."""
        self._change("user deactivate", email, is_active=False)
        self.say(f"{email} cannot sign in any more.")

    def activate(self, email: str) -> None:
        """Let a deactivated account sign in again."""
        self._change("user activate", email, is_active=True)
        self.say(f"{email} can sign in again.")

    def set_password(self, email: str) -> None:
        """Set an account's password; asks for it, or takes it from HEALTH_ADMIN_PASSWORD."""
        password = self.new_password()
        reason = serving.why_unfit(password, email=email, name="")
        if reason:
            raise OperatorError(f"The password {reason}.")
        hashed = asyncio.run(Passwords.of(self.settings()).hash(password))
        self._change("user set-password", email, password_hash=hashed)
        self.say(f"{email} has a new password.")

    def reset_mfa(self, email: str) -> None:
        """Remove an account's second factors, which its owner has lost, and end its sessions; he is told."""
        _one_account(self.in_session, "user reset-mfa", email, lambda session: _without_factors(session, email))
        self.say(f"{email} signs in with the password alone now.")

    def _change(self, action: str, email: str, **values: object) -> None:
        _one_account(self.in_session, action, email, lambda session: _changed(session, email, values))


def _one_account(
    in_session: Callable[[Work], Any], action: str, email: str, work: Callable[[AsyncSession], Awaitable[int | None]]
) -> None:
    """Do something to one account and tell the audit; `work` answers its id, None if there is no such account."""

    async def audited(session: AsyncSession, _: Installation) -> int | None:
        user_id = await work(session)
        if user_id is not None:
            await of_command(session, action, user_id)
        return user_id

    if in_session(audited) is None:
        raise OperatorError(f"There is no account with the e-mail address {email}.")


async def _changed(session: AsyncSession, email: str, values: dict[str, object]) -> int | None:
    return await UserRepository(session).change(_as_stored(email), **values)


async def _without_factors(session: AsyncSession, email: str) -> int | None:
    account = await UserRepository(session).credentials(_as_stored(email))
    if account is None:
        return None
    await remove_all(session, account.id, serving.utc_now())
    return int(account.id)


def _as_stored(email: str) -> str:
    return email.strip().lower()
