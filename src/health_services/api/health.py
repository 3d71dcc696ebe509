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
    """What waits to be sent: how much is due, was tried in vain, for how long, and how much was given up."""

    due: int
    retrying: int
    oldest_due_seconds: float
    failed: int


class Readiness(Health):
    """Ready, and the state of the messages, null where it cannot be had in time; neither ends the serving."""

    messages: Queues | None


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
    except (DBAPIError, PoolTimeoutError, OSError):
        raise UnavailableException("The database cannot be reached.") from None
    if not request.app.state.is_current(revision):
        raise UnavailableException("The database's schema is older than this version; run: health-services migrate")
    queues = await request.app.state.queues(request.app.state.database)
    return Readiness(messages=queues and Queues(**queues))
