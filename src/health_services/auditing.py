"""The operator's commands that look after the audit, and what commands tell it of themselves."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import text

from health_services.audit.pruning import prune
from health_services.audit.repository import ChainRepository
from health_services.audit.service import of_command
from health_services.audit.verification import Advance, Head, Report, Verification
from health_services.database.engine import Database
from health_services.errors import OperatorError
from health_services.installation import Installation, Say, installation
from health_services.settings import Settings

_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")
_SEES_ALL = text("SELECT NOT row_security_active('audit_log')")
_IS_THERE = text("SELECT to_regclass('public.audit_log') IS NOT NULL")

T = TypeVar("T")


def commands(settings: Callable[[], Settings], say: Say) -> typer.Typer:
    """The group of commands; `settings` reads the environment once a command runs."""
    audit = typer.Typer(help="The audit: prove that it is whole, forget what is old.", no_args_is_help=True)

    @audit.command()
    def verify(
        head: Annotated[str | None, typer.Option(help="SEQ:MAC that `audit head` printed and you kept.")] = None,
    ) -> None:
        """Look for entries that were changed, removed, inserted or moved; with --head also for an end cut off."""
        noted = _read_head(head)
        with installation(settings(), say) as place, _progress("Seals") as advance:
            report = asyncio.run(_as_owner(place, lambda owner: _verify(owner, noted, say, advance)))
        for sentence in _summary(report, datetime.now(UTC)):
            say(sentence)
        if not report.is_whole:
            raise typer.Exit(1)

    @audit.command()
    def head() -> None:
        """Print place and mac of the chain's last link; keep them where nobody can reach who reaches the database."""
        with installation(settings(), say) as place:
            typer.echo(asyncio.run(_as_owner(place, _head)))

    @audit.command("prune")
    def prune_command(
        before: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A day in UTC, which is kept itself.")],
    ) -> None:
        """Delete sealed entries of the days before; the chain goes on from a signed checkpoint."""
        instant = before.replace(tzinfo=UTC)
        if instant > datetime.now(UTC):
            raise OperatorError("--before must not lie in the future.")
        with installation(settings(), say) as place, _progress("Entries") as advance:
            count = asyncio.run(_as_owner(place, lambda owner: prune(owner, instant, say, advance)))
        say(f"Deleted {count} entries from before {instant:%Y-%m-%d}. Keep a new head: health-services audit head")

    return audit


async def note(place: Installation, action: str) -> None:
    """Tell the audit of a command that has no transaction of its own; a schema without an audit is left alone."""

    async def work(owner: Database) -> None:
        async with owner.writing() as session, session.begin():
            if await session.scalar(_IS_THERE):
                await of_command(session, action)

    await _as_owner(place, work, insist=False)


async def _as_owner(place: Installation, work: Callable[[Database], Awaitable[T]], *, insist: bool = True) -> T:
    """Do it with connections of the owner, who sees every row; raises OperatorError where he does not."""
    if insist:
        await place.insist_on_schema(await place.prepare(lambda _: None))
    timeouts = {"statement_timeout_ms": 0, "lock_timeout_ms": 10_000}
    vault = place.vault()
    owner = Database.connect(place.owner_url, role=None, pool_size=2, pool_timeout=10, timeouts=timeouts, vault=vault)
    try:
        async with owner.reading() as session:
            if insist and not await session.scalar(_SEES_ALL):
                raise OperatorError(
                    "This needs the database's owner, from whom no row is hidden: give his URL in "
                    "HEALTH_MIGRATION_DATABASE_URL, and let an administrator of the server run: ALTER ROLE … BYPASSRLS;"
                )
        return await work(owner)
    finally:
        await owner.close()


async def _verify(owner: Database, head: Head | None, say: Say, advance: Advance) -> Report:
    async with owner.writing() as session, session.begin():
        return await Verification(session, head, say, advance).run()


async def _head(owner: Database) -> str:
    async with owner.reading() as session:
        last = await ChainRepository(session).head()
    if last is None:
        raise OperatorError("Nothing is sealed yet; a worker seals what is written, about every second.")
    return f"{last.seq}:{last.mac.hex()}"


def _read_head(written: str | None) -> Head | None:
    found = _HEAD.fullmatch(written.strip()) if written is not None else None
    if written is not None and found is None:
        raise OperatorError("--head must be as `audit head` printed it: a number, a colon, and 64 hexadecimal digits.")
    return Head(int(found[1]), bytes.fromhex(found[2])) if found else None


def _summary(report: Report, now: datetime) -> Iterator[str]:
    if report.start.seq:
        yield f"The chain begins with the checkpoint {report.start.seq}; what was before it was pruned."
    if report.leftover:
        yield (
            f"{report.leftover} seals stand before the checkpoint: a pruning was broken off (run it again), or they "
            "were inserted."
        )
    if report.oldest_unsealed is not None:
        age = int((now - report.oldest_unsealed).total_seconds())
        yield f"{report.unsealed} entries are not sealed yet, the oldest {age} s old; a worker does it."
    if report.is_whole:
        yield f"The audit is whole: {report.entries} entries, sealed up to {report.last.seq}."
    else:
        yield f"The audit is not whole: {report.findings} findings."


@contextmanager
def _progress(what: str) -> Iterator[Advance]:
    with Progress(transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
