"""GET /healthz and GET /readyz: is the process up, and can it serve?"""

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from health_services.api.fields import AnswerShape
from health_services.api.openapi import errors
from health_services.errors import UnavailableException

READY_SECONDS = 2.0

router = APIRouter(tags=["Health"])


class Health(AnswerShape):
    """All is well; anything else is an error."""

    status: Literal["ok"] = "ok"


class Queues(AnswerShape):
    """What waits to be sent: how much is due, for how long, and how much was given up."""

    due: int
    oldest_due_seconds: float
    failed: int


class Readiness(Health):
    """Ready, and the state of the messages: a queue that grows does not stop a server from serving."""

    messages: Queues


@router.get("/healthz", summary="Is the process up?", response_model=Health)
async def healthz() -> Any:
    """Answers as long as the process can answer at all."""
    return Health()


@router.get("/readyz", summary="Can it serve?", response_model=Readiness, responses=errors(UnavailableException))
async def readyz(request: Request) -> Any:
    """503 while the database cannot be reached, or its schema is older than this version needs."""
    try:
        async with asyncio.timeout(READY_SECONDS), request.app.state.database.reading() as session:
            revision = await session.scalar(text("SELECT version_num FROM alembic_version"))
            is_current = request.app.state.is_current(revision)
            queues = await request.app.state.queues(session) if is_current else None
    except (DBAPIError, PoolTimeoutError, OSError):
        raise UnavailableException("The database cannot be reached.") from None
    if queues is None:
        raise UnavailableException("The database's schema is older than this version; run: health-services migrate")
    return Readiness(messages=Queues(**queues))
