"""Writes that nobody waits for within a transaction: they go together, in one round trip, when it is committed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_session
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from health_services.database.driver import Statement, fetch
from health_services.database.session import POSTPONED


@dataclass(frozen=True)
class Write:
    """INSERTs and the like by the names of their common table expressions; these and the names of values are unique.

    `is_counted`: the last one says RETURNING, which somebody must be allowed to read, and `write_all` tells how often.
    """

    parts: tuple[tuple[str, str], ...]
    is_counted: bool = False


def postpone(session: AsyncSession, write: Write, values: Mapping[str, Any]) -> None:
    """Let `write_all` write this; once in a transaction."""
    session.info.setdefault(POSTPONED, {})[write] = values


async def write_all(session: AsyncSession) -> Mapping[str, int]:
    """Write everything that was postponed; how many rows those wrote that are counted, by the name of their last."""
    writes: dict[Write, Mapping[str, Any]] = session.info.pop(POSTPONED, {})
    if not writes:
        return {}
    values = {name: value for given in writes.values() for name, value in given.items()}
    (counts,) = await fetch(session, _together(tuple(writes)), values)
    return dict(counts)


@event.listens_for(Session, "before_commit")
def _write_the_rest(session: Session) -> None:
    """Whoever commits writes what was postponed, whether he knows of it or not."""
    outer = async_session(session)
    if outer is not None and session.info.get(POSTPONED):
        await_only(write_all(outer))


@event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    """What was postponed is undone with the rest; a transaction that comes after it has nothing to do with that."""
    session.info.pop(POSTPONED, None)


@cache
def _together(writes: tuple[Write, ...]) -> Statement:
    parts = ", ".join(f"{name} AS ({text})" for write in writes for name, text in write.parts)
    counted = [write.parts[-1][0] for write in writes if write.is_counted]
    counts = ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in counted)  # noqa: S608 - the same
    return Statement(f"WITH {parts} SELECT {counts}")
