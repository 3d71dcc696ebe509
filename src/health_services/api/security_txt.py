"""GET /.well-known/security.txt: whom to tell of a hole (RFC 9116)."""

from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from health_services.api.dependencies import Now
from health_services.api.openapi import errors
from health_services.errors import ResourceNotFoundException
from health_services.settings import Settings

# The file is written anew for each who asks; the RFC recommends less than a year.
VALID = timedelta(days=180)
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The contact", "content": {"text/plain": {"schema": {"type": "string"}}}}
}

router = APIRouter(tags=["Health"])


@router.get(
    "/.well-known/security.txt",
    summary="Whom to tell of a hole",
    response_class=Response,
    responses=_TEXT | errors(ResourceNotFoundException),
)
async def security_txt(request: Request, now: Now) -> Any:
    """The contact of the setting HEALTH_SECURITY_CONTACT as RFC 9116 writes it; 404 without one."""
    settings: Settings = request.app.state.settings
    if settings.security_contact is None:
        raise ResourceNotFoundException
    return Response(_written(settings.security_contact, now), media_type="text/plain")


def _written(contact: str, now: datetime) -> str:
    expires = (now + VALID).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"Contact: {contact}\nExpires: {expires}\n"
