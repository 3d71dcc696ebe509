"""Reading a JSON body with nothing left to interpretation."""

import json
import re
from typing import Any

from fastapi import Request

from health_services.errors import PayloadTooLargeException, UnsupportedMediaTypeException, ValidationException

MAX_BODY_BYTES = 1 << 20
# No request has nearly as many fields, and each unknown one costs an error of its own.
MAX_MEMBERS = 24
# Half of a surrogate pair, which no UTF-8 text can hold, but an escape can.
_SURROGATE = re.compile(rb"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


class StrictRequest(Request):
    """A request whose body is JSON as RFC 8259 means it: no duplicate keys, no NaN, no number too long to read."""

    async def json(self) -> Any:
        """The parsed body; raises ValidationException with the reason."""
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json

    async def body(self) -> bytes:
        """The whole body; raises PayloadTooLargeException instead of reading more than MAX_BODY_BYTES."""
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
                raise PayloadTooLargeException
            body = bytearray()
            async for chunk in self.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise PayloadTooLargeException
            self._body = bytes(body)
        return self._body

    async def require_json(self) -> None:
        """Refuse a body that does not say it is JSON; raises UnsupportedMediaTypeException."""
        if not await self.body():
            return
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise UnsupportedMediaTypeException


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_MEMBERS:
        raise ValidationException.of("body", f"has an object with more than {MAX_MEMBERS} members")
    members = dict(pairs)
    if len({key.casefold() for key in members}) != len(pairs):
        raise ValidationException.of("body", "has the same key twice")
    return members


def _constant(name: str) -> Any:
    raise ValidationException.of("body", f"{name} is not JSON")


def parse(body: bytes) -> Any:
    """The value of a JSON text; raises ValidationException with the reason."""
    try:
        value = json.loads(body, object_pairs_hook=_object, parse_constant=_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValidationException.of("body", f"is not valid JSON (character {error.pos})") from None
    except RecursionError:
        raise ValidationException.of("body", "is nested too deeply") from None
    except ValueError:  # not UTF-8, half a surrogate pair, or a number with thousands of digits
        raise ValidationException.of("body", "is not valid JSON") from None
    return value
