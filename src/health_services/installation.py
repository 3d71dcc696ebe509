"""Which database, which secret, which role: what every command needs before it can do anything."""

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from pydantic import SecretStr

from health_services.database import embedded, migrations, roles, transport
from health_services.database.binaries import programs
from health_services.database.engine import Database
from health_services.database.key_file import KeyFile, vault_for
from health_services.database.sealing import Vault
from health_services.errors import OperatorError
from health_services.kept_files import kept
from health_services.outgoing.push_keys import kept_key
from health_services.settings import MINIMUM_SECRET_BYTES, Settings, variable

STOPPING = "Stopping: what is under way is finished; Ctrl-C ends it at once."

Say = Callable[[str], None]

_MAKE_KEY = "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"
_NO_KEYS = (
    "HEALTH_ENCRYPTION_KEYS must be set when DATABASE_URL is: all processes of one database read what the others "
    f"""encrypted. It is a JSON object such as {{"first": "…"}}; make a key with: {sys.executable} -c '{_MAKE_KEY}'"""
)


@dataclass(frozen=True)
class Installation:
    """A database that can be reached, and the programs to go with it."""

    settings: Settings
    application_url: str
    owner_url: str
    bin_dir: Path
    is_embedded: bool
    superuser_url: str | None = None

    async def prepare(self, say: Say) -> str | None:
        """Check the server and make sure of the roles; the role to act as, None where the login is the lesser one."""
        if not self.is_embedded:
            await self._insist_on_settings(say)
        await roles.prepare(self.owner_url, self.application_url, self.superuser_url)
        role = await roles.role_to_take(self.application_url)
        if role:
            say(
                f"DATABASE_URL's user has more rights than the service needs; requests run as {role}. "
                "Better: give the owner's URL in HEALTH_MIGRATION_DATABASE_URL, and a lesser user's in DATABASE_URL."
            )
            await self._insist_on("DATABASE_URL", self.application_url, role)
        return role

    async def _insist_on_settings(self, say: Say) -> None:
        """Raise OperatorError where a pooler would drop what connections rest on."""
        if self.settings.database_pooler and self.settings.migration_database_url is None:
            raise OperatorError(
                "With HEALTH_DATABASE_POOLER=true, HEALTH_MIGRATION_DATABASE_URL must be set, to a URL of the owner "
                "that leads to PostgreSQL directly."
            )
        await self._insist_on("DATABASE_URL", self.application_url)
        if self.owner_url != self.application_url:
            # Locks of migrations and of starts are a connection's, which a pooler would give to others.
            await roles.insist_on_settings("HEALTH_MIGRATION_DATABASE_URL", self.owner_url, None, has_pooler=False)
        if self.settings.read_database_url is not None:
            try:
                await self._insist_on("HEALTH_READ_DATABASE_URL", self.settings.read_database_url.get_secret_value())
            except roles.UnreachableError:
                say("Warning: nobody answers at HEALTH_READ_DATABASE_URL; meanwhile the main database is read.")

    async def _insist_on(self, name: str, url: str, role: str | None = None) -> None:
        await roles.insist_on_settings(name, url, role, has_pooler=self.settings.database_pooler)

    async def migrate(self) -> None:
        """Bring the schema to head, as the owner."""
        await migrations.migrate(self.owner_url)

    async def insist_on_schema(self, role: str | None) -> None:
        """Raise OperatorError where the schema is older than this version; one that is newer serves it too."""
        database = self.database(role)
        try:
            async with database.reading() as session:
                revision = await migrations.current_revision(await session.connection())
        finally:
            await database.close()
        if not migrations.is_current(revision, migrations.revisions()):
            raise OperatorError("The database's schema is older than this version; run: health-services migrate")

    def vault(self) -> Vault:
        """The vault of encrypted columns; its keys are made where none are given and the server is our own.

        Raises OperatorError where they must be given, or cannot be kept.
        """
        if not self.settings.encryption_keys:
            if not self.is_embedded:
                raise OperatorError(_NO_KEYS)
            KeyFile(self.settings.data_dir).make(datetime.now(UTC))
        return vault_for(self.settings)

    def database(self, role: str | None, vault: Vault | None = None) -> Database:
        """A few connections with the application's rights on everybody's rows, for a command.

        A command that reads or writes sealed columns needs the vault.
        """
        return Database.connect(
            self.application_url,
            role=role,
            pool_size=2,
            pool_timeout=10,
            timeouts={"statement_timeout_ms": 120_000, "lock_timeout_ms": 10_000},
            vault=vault,
            is_service=True,
            has_pooler=self.settings.database_pooler,
        )


@contextmanager
def installation(
    settings: Settings, say: Say, *, meanwhile: Callable[[], None] = lambda: None
) -> Iterator[Installation]:
    """The database of the settings; the embedded server runs at least as long as the block lasts.

    `meanwhile` is what the caller does anyhow, and now while an embedded server starts.
    """
    if settings.database_url is not None:
        _insist_on_tls(settings, say)
        url = settings.database_url.get_secret_value()
        owner = settings.migration_database_url
        yield Installation(
            settings=settings,
            application_url=url,
            owner_url=owner.get_secret_value() if owner else url,
            bin_dir=programs(settings.postgres_bin),
            is_embedded=False,
        )
        return
    for name in ("migration_database_url", "read_database_url"):
        if getattr(settings, name) is not None:
            raise OperatorError(f"{variable(name)} is set but DATABASE_URL is not; set both or neither.")
    with embedded.running(
        settings.data_dir, postgres_bin=settings.postgres_bin, say=say, meanwhile=meanwhile
    ) as cluster:
        yield Installation(
            settings=settings,
            application_url=cluster.app_url,
            owner_url=cluster.owner_url,
            bin_dir=cluster.bin_dir,
            is_embedded=True,
            superuser_url=cluster.admin_url,
        )


def _insist_on_tls(settings: Settings, say: Say) -> None:
    """Raise OperatorError where a database is on another host without verified TLS, or warn where that is wished."""
    for field in ("database_url", "migration_database_url", "read_database_url"):
        name, url = variable(field), getattr(settings, field)
        if url is None or transport.is_verified(url.get_secret_value()):
            continue
        danger = f"{name} leads to another host without sslmode=verify-full, so anybody on the way can read and write"
        if not settings.database_allow_unverified_tls:
            raise OperatorError(
                f"{danger}. Add ?sslmode=verify-full&sslrootcert=<the authority's certificate> to it; where the way is "
                "safe by other means, set HEALTH_DATABASE_ALLOW_UNVERIFIED_TLS=true."
            )
        say(f"Warning: {danger}.")


def end_at_once() -> NoReturn:
    """End this process without waiting for anything; an embedded server is stopped by its keeper."""
    os._exit(128 + signal.SIGINT)


def serving_settings(place: Installation) -> Settings:
    """The settings with the database, the secret and the key of Web Push filled in; keys of encryption are there.

    Raises OperatorError where secret or keys must be given, and where one of them cannot be kept.
    """
    key = place.settings.secret_key
    if key is None and not place.is_embedded:
        raise OperatorError(
            "HEALTH_SECRET_KEY must be set when DATABASE_URL is: all processes that serve one database share it. "
            f"Make one with: {sys.executable} -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if key is None:
        key = SecretStr(_generated_key(place.settings.data_dir))
    place.vault()
    push_key = place.settings.vapid_private_key or SecretStr(kept_key(place.settings.data_dir))
    known = {"database_url": SecretStr(place.application_url), "secret_key": key, "vapid_private_key": push_key}
    return place.settings.model_copy(update=known)


def _generated_key(data_dir: Path) -> str:
    """The secret of this data directory, made once; only its owner can read it."""
    path = data_dir / "secret_key"
    try:
        key = kept(path, lambda: secrets.token_urlsafe(48), if_removed="everybody must then sign in again").strip()
    except UnicodeDecodeError:
        key = ""
    if len(key.encode()) < MINIMUM_SECRET_BYTES:
        raise OperatorError(f"The secret in {path} is too short; restore it, or remove it to sign everybody out.")
    return key
