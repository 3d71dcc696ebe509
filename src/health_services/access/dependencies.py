"""What endpoints are given of the caller."""

from typing import Annotated

from fastapi import Depends, Request

from health_services.access.service import Caller


def current_caller(request: Request) -> Caller:
    """The caller whom the route let pass."""
    caller: Caller = request.state.caller
    return caller


def possible_caller(request: Request) -> Caller | None:
    """The caller, where a door is open to strangers too."""
    caller: Caller | None = request.state.caller
    return caller


CurrentCaller = Annotated[Caller, Depends(current_caller, scope="function")]
PossibleCaller = Annotated[Caller | None, Depends(possible_caller, scope="function")]
