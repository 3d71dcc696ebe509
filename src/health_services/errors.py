"""Every error that the system answers with, as one small tree.

    HealthServicesError                    500  INTERNAL_ERROR
    ├── ValidationException                400  VALIDATION_ERROR
    ├── AuthenticationException            401  AUTHENTICATION_ERROR
    ├── AuthorizationException             403  AUTHORIZATION_ERROR
    │   └── ReauthenticationRequiredException 403 REAUTHENTICATION_REQUIRED
    ├── ResourceNotFoundException          404  RESOURCE_NOT_FOUND
    ├── ConflictException                  409  CONFLICT
    │   ├── SlotUnavailableException       409  SLOT_UNAVAILABLE
    │   ├── DuplicateBookingException      409  DUPLICATE_BOOKING
    │   ├── EmailAlreadyRegisteredException 409 EMAIL_ALREADY_REGISTERED
    │   └── RequestInProgressException     409  REQUEST_IN_PROGRESS
    ├── IdempotencyKeyReusedException      422  IDEMPOTENCY_KEY_REUSED
    ├── PayloadTooLargeException           413  PAYLOAD_TOO_LARGE
    ├── UnsupportedMediaTypeException      415  UNSUPPORTED_MEDIA_TYPE
    ├── RateLimitedException               429  RATE_LIMITED
    ├── UnavailableException               503  UNAVAILABLE
    └── OverloadedException                503  OVERLOADED

The classes from ValidationException to EmailAlreadyRegisteredException carry the names of the guide. A status code is
a fact of the class; only `api/problems.py` turns an error into an answer. Messages are for the caller: no SQL, no
paths, nothing about another person.

`OperatorError` stands apart: it is for whoever runs a command, never for a caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from health_services.written_limits import Standing


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field; `field` is its path, as in `items[3].slot_datetime`."""

    field: str
    message: str


class HealthServicesError(Exception):
    """Something the caller is told about; `detail` is one sentence for a person."""

    status: ClassVar[int] = 500
    error_code: ClassVar[str] = "INTERNAL_ERROR"
    title: ClassVar[str] = "Internal error"
    default_detail: ClassVar[str] = "Something went wrong on our side. Please try again."

    def __init__(self, detail: str | None = None, *, errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail or self.default_detail
        self.errors = tuple(errors)
        super().__init__(self.detail)


class ValidationException(HealthServicesError):
    """The request's form is wrong; `errors` names the fields."""

    status = 400
    error_code = "VALIDATION_ERROR"
    title = "Validation error"
    default_detail = "The request is not valid."

    @classmethod
    def of(cls, field: str, message: str) -> "ValidationException":
        """The usual case of exactly one wrong field."""
        return cls(f"{field}: {message}", errors=[FieldError(field, message)])


class AuthenticationException(HealthServicesError):
    """Nobody we know, or no longer."""

    status = 401
    error_code = "AUTHENTICATION_ERROR"
    title = "Authentication required"
    default_detail = "A valid access token is required."


class AuthorizationException(HealthServicesError):
    """Somebody we know, who may not do this."""

    status = 403
    error_code = "AUTHORIZATION_ERROR"
    title = "Not allowed"
    default_detail = "You are not allowed to do this."


class ReauthenticationRequiredException(AuthorizationException):
    """The session is older than this needs: the person proves once more who he is."""

    error_code = "REAUTHENTICATION_REQUIRED"
    title = "Sign in again"
    default_detail = "This needs a proof of who you are that is at most 10 minutes old: POST /auth/reauthenticate."


class ResourceNotFoundException(HealthServicesError):
    """There is no such thing."""

    status = 404
    error_code = "RESOURCE_NOT_FOUND"
    title = "Not found"
    default_detail = "There is nothing at this address."


class ConflictException(HealthServicesError):
    """The request is fine, but the state of things does not allow it."""

    status = 409
    error_code = "CONFLICT"
    title = "Conflict"
    default_detail = "This conflicts with the present state."


class SlotUnavailableException(ConflictException):
    """The slot cannot be booked now; `detail` says why."""

    error_code = "SLOT_UNAVAILABLE"
    title = "Slot unavailable"
    default_detail = "This slot cannot be booked."


class DuplicateBookingException(ConflictException):
    """The patient already holds a live appointment on the slot."""

    error_code = "DUPLICATE_BOOKING"
    title = "Already booked"
    default_detail = "This patient already has an appointment on this slot."


class EmailAlreadyRegisteredException(ConflictException):
    """The e-mail address belongs to an account already."""

    error_code = "EMAIL_ALREADY_REGISTERED"
    title = "E-mail already registered"
    default_detail = "An account with this e-mail address exists already."


class RequestInProgressException(ConflictException):
    """The first request with this idempotency key has not ended yet."""

    error_code = "REQUEST_IN_PROGRESS"
    title = "Request in progress"
    default_detail = "A request with this idempotency key is still being carried out."


class IdempotencyKeyReusedException(HealthServicesError):
    """The idempotency key came before, with another request."""

    status = 422
    error_code = "IDEMPOTENCY_KEY_REUSED"
    title = "Idempotency key reused"
    default_detail = "This idempotency key was used for a different request."


class PayloadTooLargeException(HealthServicesError):
    """The body is larger than the service reads."""

    status = 413
    error_code = "PAYLOAD_TOO_LARGE"
    title = "Payload too large"
    default_detail = "The body may have 1 MiB at most."


class UnsupportedMediaTypeException(HealthServicesError):
    """The body is not JSON."""

    status = 415
    error_code = "UNSUPPORTED_MEDIA_TYPE"
    title = "Unsupported media type"
    default_detail = "The body must be sent as application/json."


class RateLimitedException(HealthServicesError):
    """Too much of the same; `standing` says of which limit, and `retry_after` when to come again, in seconds."""

    status = 429
    error_code = "RATE_LIMITED"
    title = "Too many requests"
    default_detail = "This was tried too often. Please wait before you try again."

    def __init__(self, standing: Standing) -> None:
        super().__init__()
        self.standing = standing

    @property
    def retry_after(self) -> int:
        """After so many seconds the same passes, if nobody else counts meanwhile."""
        return self.standing.reset


class UnavailableException(HealthServicesError):
    """Something we need does not answer; the same request may succeed later."""

    status = 503
    error_code = "UNAVAILABLE"
    title = "Unavailable"
    default_detail = "The service cannot answer now. Please try again in a moment."


class OverloadedException(HealthServicesError):
    """More is asked than can be done in time; `retry_after` says when to come again, in whole seconds."""

    status = 503
    error_code = "OVERLOADED"
    title = "Overloaded"
    default_detail = "Too many people ask at this moment. Please try again in a few seconds."

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after


class OperatorError(Exception):
    """A command cannot go on; the message says what is wrong and what to do about it."""
