"""The operator's commands that look after the keys of encrypted columns."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.tokens import secrets_of
from health_services.auditing import note
from health_services.database import resealing
from health_services.database.base import Base
from health_services.database.engine import Database
from health_services.database.key_file import KeyFile
from health_services.errors import OperatorError
from health_services.installation import Installation, Say, installation, serving_settings
from health_services.settings import Settings
from health_services.webhooks.resealing import reseal_secrets

# How long to wait for rows that somebody else is changing, and how often.
PAUSE_SECONDS, PAUSES = 0.5, 60

_GIVEN = (
    "The keys are given in HEALTH_ENCRYPTION_KEYS, so none was made. To change the key: add a new one at the end of "
    "the list on every host and restart all processes; then put it first and restart them again; then run this once "
    "more. Keep the old one as long as you keep backups that need it."
)

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: values sealed under the first key, and secrets of webhooks under the present secret."""

    first: str
    values: int
    webhook_secrets: int


def commands(settings: Callable[[], Settings], say: Say) -> typer.Typer:
    """The group of commands; `settings` reads the environment once a command runs."""
    keys = typer.Typer(help="Keys of the encrypted columns.", no_args_is_help=True)

    @keys.command("list")
    def list_keys() -> None:
        """Print the id of each key and how many values are encrypted with it; never a key itself."""
        with installation(settings(), say) as place:
            for line in asyncio.run(listed(place)):
                typer.echo(line)

    @keys.command()
    def rotate() -> None:
        """Encrypt every value with a new key, or go on where that was broken off; works while it serves."""
        with installation(settings(), say) as place:
            bar = Progress(transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty())
            with bar:
                task = bar.add_task("Values", total=None)
                done = asyncio.run(rotate_keys(place, lambda n, total: bar.update(task, completed=n, total=total)))
            asyncio.run(note(place, "keys rotate"))
            if place.settings.encryption_keys:
                say(_GIVEN)
            say(f"Every value is encrypted with the key {done.first} now; {done.values} were changed.")
            if done.webhook_secrets:
                say(f"{done.webhook_secrets} secrets of webhooks are under the present HEALTH_SECRET_KEY now.")

    return keys


async def listed(place: Installation) -> list[str]:
    """A line for each key of the ring, for keys that are missing, and for values in the clear."""
    ring = place.vault().prepare()
    await place.insist_on_schema(await place.prepare(lambda _: None))
    tables = resealing.sealed_tables(Base.metadata)
    owner = _as_owner(place)
    try:
        async with owner.reading() as session:
            await resealing.insist_on_rights(session, tables)
            counts = await resealing.count_by_key(session, tables)
    finally:
        await owner.close()
    lines = [_line(name, counts.pop(name, 0), "encrypts" if name == ring.first else "") for name in ring.ids]
    in_the_clear = counts.pop(None, 0)
    lines += [_line(str(name), count, "missing: these values cannot be read") for name, count in counts.items()]
    return [*lines, _line("in the clear", in_the_clear, "")]


def _line(name: str, count: int, remark: str) -> str:
    return f"{name:<32} {count:>10} values   {remark}".rstrip()


async def rotate_keys(place: Installation, advance: Advance) -> Rotated:
    """Bring every sealed value, and every one in the clear, under the first key, in short transactions.

    The key is a new one where the ring is our own file's, unless a rotation was broken off. `advance` hears how many
    of how many values are done. Raises OperatorError where the database user may not, another rotates, rows stay
    locked, or values cannot be opened; what was done until then stays.
    """
    settings = serving_settings(place)
    await place.insist_on_schema(await place.prepare(lambda _: None))
    tables = resealing.sealed_tables(Base.metadata)
    owner = _as_owner(place)
    try:
        async with owner.reading() as guard:
            await resealing.be_the_only_one(guard)
            await resealing.insist_on_rights(guard, tables)
            file = None if settings.encryption_keys else KeyFile(settings.data_dir)
            first = file.begin_rotation(datetime.now(UTC)) if file else next(iter(settings.encryption_keys))
            values = await _Resealing(owner, tables, first, advance).run(guard)
            if file:
                file.end_rotation()
            return Rotated(first, values, await reseal_secrets(guard, secrets_of(settings)))
    finally:
        await owner.close()


def _as_owner(place: Installation) -> Database:
    """Connections of the owner, who sees every row."""
    timeouts = {"statement_timeout_ms": 0, "lock_timeout_ms": 10_000}
    return Database.connect(
        place.owner_url, role=None, pool_size=2, pool_timeout=10, timeouts=timeouts, vault=place.vault()
    )


class _Resealing:
    """Passes over all tables until every value is under the first key."""

    def __init__(self, owner: Database, tables: list[resealing.SealedTable], first: str, advance: Advance) -> None:
        self._owner, self._tables, self._first, self._advance = owner, tables, first, advance
        self._done = 0

    async def run(self, session: AsyncSession) -> int:
        """How many values were sealed; `session` counts them."""
        pauses = 0
        while (waiting := await self._others(session)) and pauses < PAUSES:
            before = self._done
            unreadable = await self._pass(self._done + waiting)
            if unreadable:
                raise OperatorError(
                    f"Values that could not be opened: {unreadable}. The log above names their keys and places; "
                    "restore the keys that are missing and run this again."
                )
            if self._done == before:
                pauses += 1
                await asyncio.sleep(PAUSE_SECONDS)
        if waiting:
            raise OperatorError(f"Values that somebody else keeps locked: {waiting}. Run this again later.")
        return self._done

    async def _others(self, session: AsyncSession) -> int:
        counts = await resealing.count_by_key(session, self._tables)
        return counts.total() - counts[self._first]

    async def _pass(self, total: int) -> int:
        """Go through all rows once, but for those that somebody else is changing; how many values cannot be opened."""
        unreadable = 0
        for table in self._tables:
            after: int | None = 0
            while after is not None:
                async with self._owner.writing() as session, session.begin():
                    batch = await resealing.reseal_some(session, table, self._first, after)
                after = batch.last_id if batch else None
                self._done += batch.resealed if batch else 0
                unreadable += batch.unreadable if batch else 0
                self._advance(self._done, total)
        return unreadable
