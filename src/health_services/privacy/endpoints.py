"""/patients/{id}/export and /patients/{id}/erase."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import DefaultLocale, Now, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.api.traffic import count
from health_services.errors import (
    ConflictException,
    ReauthenticationRequiredException,
    ResourceNotFoundException,
)
from health_services.privacy import service
from health_services.privacy.schemas import ErasureRead, ErasureRequest, PatientExport
from health_services.privacy.writing import JsonFile, ZipFile

router = APIRouter(prefix="/patients", tags=["Patients"], route_class=GuardedRoute)

_AS_ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Everything about the person",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "/{patient_id}/export",
    summary="Export everything about a patient",
    response_model=PatientExport,
    responses=_AS_ZIP | errors(ResourceNotFoundException),
)
@requires("patients:export")
async def export_patient(
    request: Request,
    session: Session,
    caller: CurrentCaller,
    patient_id: IdInUrl,
    now: Now,
    locale: DefaultLocale,
    form: Annotated[
        Literal["json", "zip"] | None,
        Query(alias="format", description="zip: a file for each kind; also by Accept: application/zip"),
    ] = None,
) -> Any:
    """The patient himself and administrators: all that is kept about the person, at most ten times an hour.

    The notes of a visit are given to the patient alone, once it is no longer ahead.
    """
    await count(request, "export", str(caller.id))
    is_zip = form == "zip" or (form is None and "application/zip" in request.headers.get("accept", ""))
    file = ZipFile(now) if is_zip else JsonFile(now)
    content = await service.export(session, caller, patient_id, file, locale)
    name = f"patient-{patient_id}.{file.extension}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=file.media_type, headers=headers)


@router.post(
    "/{patient_id}/erase",
    summary="Erase a patient",
    response_model=ErasureRead,
    responses=errors(ResourceNotFoundException, ConflictException, ReauthenticationRequiredException),
)
@requires("patients:erase")
async def erase_patient(
    session: Session, caller: CurrentCaller, patient_id: IdInUrl, body: ErasureRequest, now: Now
) -> Any:
    """Administrators, and the patient himself within ten minutes of signing in. It cannot be undone.

    Appointments to come are cancelled, and whatever tells who this was is emptied or deleted; that visits took place,
    with whom and when, stays, and so does the audit. This answer is the only confirmation: no address is left.
    """
    return await service.erase(session, caller, patient_id, body, now)
