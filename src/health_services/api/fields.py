"""The types of fields in requests: strict, bounded, and telling in plain words what is wrong.

Texts lose surrounding white space and may not hold control characters; free texts may have several lines. Instants
are RFC 3339 with an offset. Whole numbers are numbers, never texts that look like one.
"""

import re
import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated, Any

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from health_services.pagination import MAX_LIMIT, MAX_SKIP

BIGINT_MAX = 2**63 - 1
# Beyond these years an instant is a mistake, not an appointment.
FIRST_YEAR, LAST_YEAR = 1900, 2199

_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


class RequestShape(BaseModel):
    """A request's body: a field that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    def sent(self) -> dict[str, Any]:
        """Only the fields that the caller sent: what a partial update changes."""
        return self.model_dump(exclude_unset=True)


class AnswerShape(BaseModel):
    """An answer's body, read from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True)


def example(**values: Any) -> ConfigDict:
    """What the documentation shows of a shape; a request's can be sent as it stands."""
    return ConfigDict(json_schema_extra={"examples": [values]})


def _is_control(character: str, allowed: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in allowed


def _one_line(value: str) -> str:
    if any(_is_control(character, "") for character in value):
        raise ValueError("must not contain control characters")
    return value


def _several_lines(value: str) -> str:
    value = value.replace("\r\n", "\n")
    if any(_is_control(character, "\n\t") for character in value):
        raise ValueError("must not contain control characters")
    return value


def _none_if_blank(value: Any) -> Any:
    is_blank = isinstance(value, str) and not value.strip() and not any(_is_control(c, "\t\n\r") for c in value)
    return None if is_blank else value


def _email(value: str) -> str:
    try:
        parsed = validate_email(
            value.strip(), allow_smtputf8=False, check_deliverability=False, strict=True, test_environment=True
        )
    except EmailNotValidError:
        raise ValueError("is not a valid e-mail address") from None
    return (parsed.ascii_email or parsed.normalized).lower()


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        hint = " (in a URL, + is written %2B)" if isinstance(value, str) and " " in value else ""
        raise ValueError(f"must be an RFC 3339 instant with an offset, such as 2026-03-01T10:00:00Z{hint}")
    try:
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not an instant of the calendar") from None
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return instant


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("must be a date such as 1990-01-15")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a date of the calendar") from None


def _digits(value: Any) -> Any:
    """A number in a path or query: digits only, where int() would also read '1_000' and ' 1'."""
    if isinstance(value, str) and not re.fullmatch(r"-?\d{1,40}", value, re.ASCII):
        raise ValueError("must be a whole number")
    return value


def _truth(value: Any) -> Any:
    """A truth in a query: true or false, where the framework would also read 'on' and '1'."""
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("must be true or false")
    return value


Email = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}),
]
Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]
Day = Annotated[date, BeforeValidator(_day)]

Id = Annotated[int, Field(strict=True, ge=1, le=BIGINT_MAX)]
# The bounds stand before the validator: only then does the documentation call them minimum and maximum.
IdInUrl = Annotated[int, Field(ge=1, le=BIGINT_MAX, examples=[1]), BeforeValidator(_digits)]
SkipInUrl = Annotated[int, Field(ge=0, le=MAX_SKIP), BeforeValidator(_digits)]
LimitInUrl = Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_digits)]
# Its form is nobody's business: what is not one of ours is refused where the list's order is known.
CursorInUrl = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Truth = Annotated[bool, Field(strict=True)]
TruthInUrl = Annotated[bool, BeforeValidator(_truth)]


def _text(maximum: int) -> Any:
    return StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=maximum)


Line32 = Annotated[str, _text(32), AfterValidator(_one_line)]
Line64 = Annotated[str, _text(64), AfterValidator(_one_line)]
Line100 = Annotated[str, _text(100), AfterValidator(_one_line)]
Line200 = Annotated[str, _text(200), AfterValidator(_one_line)]
Line500 = Annotated[str, _text(500), AfterValidator(_one_line)]
Text1000 = Annotated[str, _text(1000), AfterValidator(_several_lines)]
Text2000 = Annotated[str, _text(2000), AfterValidator(_several_lines)]

Text10000 = Annotated[str, _text(10_000), AfterValidator(_several_lines)]

# For an optional text, nothing but white space is the same as null.
Blank = BeforeValidator(_none_if_blank)


def unless_sent() -> Any:
    """A field that an update may leave out, but that is never null."""
    return Field(default_factory=lambda: None)
