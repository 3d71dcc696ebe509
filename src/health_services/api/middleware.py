"""What surrounds every request: an id, one line of log, safe headers, and an answer even to a crash. Pure ASGI."""

import contextlib
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from health_services.api.problems import of_error
from health_services.api.traffic import headers_of
from health_services.errors import HealthServicesError

log = structlog.get_logger("health_services.http")

# What logs call a caller who hung up before he was answered (nginx's number).
CLIENT_CLOSED_REQUEST = 499

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
# Values of these query parameters are numbers and dates; those of any other could be a token or a person's.
_LOGGED_PARAMETERS = frozenset({"skip", "limit", "doctor_id", "clinic_id", "date_from", "date_to"})
# A query of nothing but those, written in the plainest way, is logged as it is.
_PLAIN_PAIR = rf"(?:{'|'.join(sorted(_LOGGED_PARAMETERS))})=[\d:.TZ-]{{1,40}}"
_PLAIN_QUERY = re.compile(rf"{_PLAIN_PAIR}(?:&{_PLAIN_PAIR}){{0,19}}".encode())
_PLAIN = re.compile(r"[\d:.+TZ-]{1,40}", re.ASCII)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
# A browser that came by TLS once comes by nothing else for a year (RFC 6797); over plain HTTP it may not be said.
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


class Surroundings:
    """Gives each request an id, catches what nobody caught, sets the headers that are missing, logs one line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        if is_head:  # RFC 9110: like GET, without the body
            scope = {**scope, "method": "GET"}
        request_id = scope.setdefault("state", {})["request_id"] = _request_id(scope)
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, scope, request_id)
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            _log_crash(request_id, error)
            if status:
                raise
            await of_error(HealthServicesError())(scope, receive, send_with_headers)
        finally:
            _log_request(scope, request_id, status, time.perf_counter() - started)


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return os.urandom(16).hex()


def _add_headers(message: Message, scope: Scope, request_id: str) -> None:
    headers = message.setdefault("headers", [])
    present = {name.lower() for name, _ in headers}
    headers += [header for header in _HEADERS if header[0] not in present]
    if b"ratelimit" not in present:
        headers += headers_of(scope)
    if scope["scheme"] == "https":
        headers.append(_ONLY_TLS)
    headers.append((b"x-request-id", request_id.encode()))


def _log_crash(request_id: str, error: Exception) -> None:
    """Where it happened, never what the exception says: messages of drivers quote values."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        cause = cause.__cause__
    log.error("crash", request_id=request_id, error=causes, frames=frames[-12:])


def _log_request(scope: Scope, request_id: str, status: int, seconds: float) -> None:
    fields = {
        "request_id": request_id,
        "method": scope["method"],
        "path": _safe_path(scope),
        "query": _safe_query(scope["query_string"]),
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    if not _DIRECTLY:
        log.info("request", **fields)
    for stream in _DIRECTLY:
        stream.write_request(fields)


def _safe_path(scope: Scope) -> str:
    """The path with its numbers; any other text a caller put there is left out, with what stands beside it."""
    if "endpoint" not in scope:
        return "(unknown)"
    parameters: dict[str, Any] = scope.get("path_params", {})
    path_format = str(getattr(scope.get("route"), "path_format", ""))
    if not parameters and "{" not in path_format:
        return str(scope["path"])
    hidden = {str(value) for value in parameters.values() if not str(value).isdigit()}
    parts = str(scope["path"]).split("/")
    shapes = path_format.split("/")
    shapes = [""] * (len(parts) - len(shapes)) + shapes  # a route does not know the prefix it was mounted under
    return "/".join(
        "…" if part in hidden or ("{" in shape and not part.isdigit()) else part
        for part, shape in zip(parts, shapes, strict=False)
    )


def _safe_query(query: bytes) -> str:
    if not query or _PLAIN_QUERY.fullmatch(query):
        return query.decode()
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)[:20]
    return "&".join(f"{k}={v}" if k in _LOGGED_PARAMETERS and _PLAIN.fullmatch(v) else _redacted(k) for k, v in pairs)


def _redacted(name: str) -> str:
    return f"{name if re.fullmatch('[a-z_]{1,40}', name) else '…'}=[redacted]"


def _as_json(event: Any, **options: Any) -> str:
    try:
        return orjson.dumps(event, default=options["default"]).decode()
    except TypeError:  # half a character, or a number beyond 64 bits, which is no reason to lose a line
        return json.dumps(event, **options)


class _StandardError:
    """Standard error as it is now; that its reader is gone stops nothing."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, line: str) -> None:
        """Write, where somebody reads."""
        with contextlib.suppress(OSError):
            self._stream.write(line)

    def flush(self) -> None:
        """As `write`."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def write_request(self, fields: dict[str, Any]) -> None:
        """Write the line that structlog makes of a request, in a third of the time."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = _as_json(fields | {"event": "request", "level": "info", "timestamp": now}, default=str)
        with contextlib.suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()


_PROCESSORS: list[Callable[..., Any]] = []
# Where lines of requests go without structlog, which is where they are JSON and wanted.
_DIRECTLY: list[_StandardError] = []


def configure_logging(level: str, *, as_text: bool) -> None:
    """One line for each event on standard error: JSON for machines, columns for people."""
    # in place, since loggers that were used already keep this list
    _PROCESSORS[:] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer(serializer=_as_json),
    ]
    standard_error = _StandardError()
    _DIRECTLY[:] = [standard_error] if level in {"debug", "info"} and not as_text else []
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=standard_error),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
