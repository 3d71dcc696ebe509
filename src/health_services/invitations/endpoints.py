"""Inviting people to accounts, and POST /auth/invitation/accept."""

from typing import Any

from fastapi import APIRouter, Request, Response

from health_services.access.dependencies import CurrentCaller, CurrentTrail
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.errors import (
    ConflictException,
    EmailAlreadyRegisteredException,
    ReauthenticationRequiredException,
    ResourceNotFoundException,
)
from health_services.invitations import service
from health_services.invitations.schemas import InvitationAccept, InvitationCreate
from health_services.users.schemas import UserRead

router = APIRouter(prefix="/users", tags=["Users"], route_class=GuardedRoute)
patient_router = APIRouter(prefix="/patients", tags=["Patients"], route_class=GuardedRoute)
accept_router = APIRouter(prefix="/auth", tags=["Authentication"], route_class=GuardedRoute)


@router.post(
    "/invitations",
    status_code=201,
    summary="Invite somebody",
    response_model=UserRead,
    responses=errors(
        ResourceNotFoundException, EmailAlreadyRegisteredException, ConflictException, ReauthenticationRequiredException
    ),
)
@requires("users:invite")
async def invite_user(session: Session, caller: CurrentCaller, body: InvitationCreate, now: Now) -> Any:
    """Administrators only. Makes an account without a password, and mails a link that lives for 7 days.

    With it the person chooses a password (`POST /auth/invitation/accept`). `clinic_id` goes with the role `staff`; a
    doctor's record is made by `POST /doctors`. To invite an administrator, prove who you are anew.
    """
    return await service.invite(session, caller, body, now)


@router.post(
    "/{user_id}/invitation",
    status_code=202,
    response_class=Response,
    summary="Invite a user again",
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("users:invite")
async def invite_user_again(
    request: Request, session: Session, caller: CurrentCaller, user_id: IdInUrl, now: Now
) -> None:
    """Administrators only, for an account that has no password yet; the links of earlier mails end."""
    await service.invite_again(session, caller, request.app.state.limiter, user_id, now)


@patient_router.post(
    "/{patient_id}/invite",
    status_code=202,
    response_class=Response,
    summary="Invite a patient to a login",
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("patients:invite")
async def invite_patient(
    request: Request, session: Session, caller: CurrentCaller, patient_id: IdInUrl, now: Now
) -> None:
    """Staff of the patient's clinics, and administrators: for a person with an e-mail address and without a login."""
    await service.invite_patient(session, caller, request.app.state.limiter, patient_id, now)


@accept_router.post(
    "/invitation/accept",
    status_code=204,
    response_class=Response,
    summary="Accept an invitation",
    responses=errors(),
)
@requires("auth:accept-invitation")
async def accept_invitation(request: Request, session: Session, trail: CurrentTrail, body: InvitationAccept) -> None:
    """Chooses the account's password with the token of the mailed link, and verifies its address; then sign in.

    A password that is refused leaves the token as it is.
    """
    await service.accept(session, request.app.state.gate.passwords, trail, body)
