"""/api-keys."""

from typing import Any

from fastapi import APIRouter, Response

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Paging, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.api_keys import service
from health_services.api_keys.schemas import ApiKeyCreate, ApiKeyCreated, ApiKeyRead
from health_services.errors import ConflictException, ReauthenticationRequiredException, ResourceNotFoundException

router = APIRouter(prefix="/api-keys", tags=["API keys"], route_class=GuardedRoute)


@router.post(
    "",
    status_code=201,
    summary="Create an API key",
    response_model=ApiKeyCreated,
    responses=errors(ConflictException, ReauthenticationRequiredException),
)
@requires("api-keys:write")
async def create_api_key(session: Session, caller: CurrentCaller, body: ApiKeyCreate, now: Now) -> Any:
    """For a machine that calls in your name, as `X-API-Key` or Bearer; `key` is shown this once.

    It does what you may do and its scopes say: the permissions of docs/access.md, or `slots:*` for all of a resource.
    It reaches nothing that is about signing in. It needs a proof of who you are that is at most 10 minutes old.
    """
    return await service.create(session, caller, body, now)


@router.get("", summary="List one's API keys", response_model=list[ApiKeyRead], responses=errors())
@requires("api-keys:read")
async def list_api_keys(session: Session, caller: CurrentCaller, listing: Paging) -> Any:
    """Your own, by id; those that have ended too."""
    return listing.answer(await service.all_keys(session, caller, listing.page))


@router.get(
    "/{key_id}", summary="Get an API key", response_model=ApiKeyRead, responses=errors(ResourceNotFoundException)
)
@requires("api-keys:read")
async def get_api_key(session: Session, caller: CurrentCaller, key_id: IdInUrl) -> Any:
    """One of your own."""
    return await service.read(session, caller, key_id)


@router.delete(
    "/{key_id}",
    status_code=204,
    response_class=Response,
    summary="Revoke an API key",
    responses=errors(ResourceNotFoundException),
)
@requires("api-keys:write")
async def revoke_api_key(session: Session, caller: CurrentCaller, key_id: IdInUrl, now: Now) -> None:
    """One of your own; it works no more from the next request on."""
    await service.revoke(session, caller, key_id, now)
