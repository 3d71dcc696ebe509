"""Schemathesis, set up for this API: every check on, and each exception to one with its reason."""

import itertools
import re
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis import Case, HookContext, Response, engine
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events
from schemathesis.engine.core import EventStream
from schemathesis.openapi.checks import AllowHeaderMismatch, RejectedPositiveData, UnsupportedMethodResponse

# What a JSON schema cannot say: a request may satisfy the schema and be refused for these reasons, and no others.
BEYOND_THE_SCHEMA = (
    "must not contain control characters",
    "must have 1 characters or more",  # nothing is left of white space
    "must have 2 characters or more",
    "must be an IANA time zone",
    "is not a valid e-mail address",  # format: email allows more than the mail system does
    "must lie between the years 1900 and 2199",
    "must lie in the future",
    "must lie in the past, within 130 years",
    "is not an instant of the calendar",  # leap seconds
    "must be an RFC 3339 instant with an offset",
    "must be a user with the role",
    "must be the doctor's own clinic",
    "must be the slot's own",
    "is required",  # the name, when staff make a patient
    "belongs to the account",
    "is among the most common passwords",
    "must not be the e-mail address or the name",
    "must be a whole number",  # 5.0, which JSON schema counts among the integers
    "has the same key twice",  # keys that differ in case only
    "must not name one twice",
    "is for the role staff only",
    "is not valid, was used, or has expired",  # the token of a mailed link
    "needs either code or passkey",
    "is not what the app shows now",
    "is no new passkey for this account",  # nobody's device made it
    "must not begin when they end",
    "tells of what concerns the safety",
    "must be printable ASCII",
    "is not a valid URL",
    "must begin with https://",
    "must not hold a user name",
    "must not have a fragment",
    "must name a host",
    "must not lead to a private",
    "must be a URL of a push service",
    "has a port that does not exist",
    "must be an uncompressed P-256 point",
    "must be 16 bytes as base64url",
    "is not a cursor of this list",
    "must be left out where there is a cursor",
)
# A word beside an id, as in /appointments/book beside /appointments/{appointment_id}: another method on the word
# is refused as a wrong id, by 400 instead of 405.
WORDS_BESIDE_IDS = {
    "/api/v1/auth/passkeys/options",
    "/api/v1/appointments/book",
    "/api/v1/patients/search",
    "/api/v1/users/invitations",
    "/api/v1/users/me",
}


def _is_expected(failure: Failure, case: Case[Any], response: Response) -> bool:
    if isinstance(failure, RejectedPositiveData):
        if response.status_code != 400:
            return False
        errors = response.json().get("errors", [])
        return bool(errors) and all(error["message"].startswith(BEYOND_THE_SCHEMA) for error in errors)
    if isinstance(failure, AcceptedNegativeData):
        # An optional text that is empty is the same as null: forms send it so.
        named = re.search(r"in body - (\w+):", failure.message)
        return named is not None and isinstance(case.body, dict) and case.body.get(named[1]) == ""
    if isinstance(failure, (UnsupportedMethodResponse, AllowHeaderMismatch)):
        return case.operation.path in WORDS_BESIDE_IDS and response.status_code in {400, 401, 403, 405}
    return False


@dataclass
class Findings:
    """What an exploration came upon."""

    statuses: dict[int, int] = field(default_factory=dict)
    operations: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


def explore(app: FastAPI, headers: dict[str, str], *, seed: int, examples: int, phases: set[str]) -> Findings:
    """Call every operation with these headers, in the ways of these phases; the same calls each time."""
    names = ("examples", "coverage", "fuzzing", "stateful")
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "headers": headers,
            "auth": {"auto-signup": False},  # nobody is to sign himself up: a stranger stays one
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "phases": {name: {"enabled": name in phases} for name in names},
        }
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    numbers = itertools.count()

    @schema.hook
    def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
        # One key for all requests would hide everything behind 422; a malformed one stays as it is.
        is_malformed = case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER)
        if case.headers and "Idempotency-Key" in case.headers and not is_malformed:
            case.headers["Idempotency-Key"] = f"exploration-{next(numbers)}"
        return case

    @schema.hook
    def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
        return not _is_expected(failure, case, response)

    return _collect(engine.from_schema(schema).execute())


def _collect(stream: EventStream) -> Findings:
    findings = Findings()
    for event in stream:
        if isinstance(event, (events.NonFatalError, events.FatalError)):
            findings.failures.append(str(getattr(event, "value", None) or getattr(event, "exception", event)))
        if not isinstance(event, events.ScenarioFinished):
            continue
        for case_id, interaction in event.recorder.interactions.items():
            findings.operations.add(event.recorder.cases[case_id].value.operation.label)
            if interaction.response is not None:
                status = interaction.response.status_code
                findings.statuses[status] = findings.statuses.get(status, 0) + 1
        for case_id, checks in event.recorder.checks.items():
            for check in checks:
                if check.failure_info is not None:
                    case = event.recorder.cases[case_id].value
                    failure = check.failure_info.failure
                    findings.failures.append(
                        f"{event.phase.value}: {check.name}: {case.operation.label}: {failure.title}: "
                        f"{failure.message}\n{check.failure_info.code_sample}"
                    )
    return findings
