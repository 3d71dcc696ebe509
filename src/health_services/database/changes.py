"""What a transaction changes of things that answers are kept of; told to everybody once it is committed."""

from sqlalchemy.ext.asyncio import AsyncSession

_NAME = "touched"


def touch(session: AsyncSession, *names: str) -> None:
    """These things (freshness/versions.py) are not what they were once this transaction is committed."""
    session.info.setdefault(_NAME, set()).update(names)


def touched(session: AsyncSession) -> set[str]:
    """Everything that the transaction has changed."""
    names: set[str] = session.info.get(_NAME, set())
    return names
