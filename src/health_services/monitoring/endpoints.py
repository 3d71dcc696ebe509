"""GET /metrics, for Prometheus."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from health_services.api.openapi import errors
from health_services.errors import ResourceNotFoundException, UnavailableException
from health_services.monitoring import service

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Figures", "content": {"text/plain": {"schema": {"type": "string"}}}}
}

router = APIRouter(tags=["Health"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=_TEXT | errors(ResourceNotFoundException, UnavailableException),
)
async def metrics(request: Request) -> Any:
    """Depth and age of the queues and what failed, as Prometheus text; nothing about a person.

    Without a setting, 404 unless the server listens on a loopback address only.
    """
    if request.app.state.settings.metrics != "on":
        raise ResourceNotFoundException
    return Response(await service.exposition(request.app.state.database), media_type=CONTENT_TYPE_LATEST)
