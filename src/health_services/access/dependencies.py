"""What endpoints are given of the caller."""

from typing import Annotated

from fastapi import Depends, Request

from health_services.access.service import Caller
from health_services.access.trail import Trail


async def current_caller(request: Request) -> Caller:
    """The caller whom the route let pass."""
    caller: Caller = request.state.caller
    return caller


async def possible_caller(request: Request) -> Caller | None:
    """The caller, where a door is open to strangers too."""
    caller: Caller | None = request.state.caller
    return caller


async def current_trail(request: Request) -> Trail:
    """What the audit will tell of this request."""
    trail: Trail = request.state.trail
    return trail


CurrentCaller = Annotated[Caller, Depends(current_caller, scope="function")]
PossibleCaller = Annotated[Caller | None, Depends(possible_caller, scope="function")]
CurrentTrail = Annotated[Trail, Depends(current_trail, scope="function")]
