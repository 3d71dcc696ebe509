"""What is no HTTP at all gets our kind of error too, and so does one connection too many; answers go out fast."""

import asyncio
from http import HTTPStatus

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol

from health_services.api.problems import of_error
from health_services.errors import HealthServicesError, OverloadedException, ValidationException

# Of one process. One that waits takes up 3 KB, with a body on its way 30: 300 MB together at the very most.
MOST_CONNECTIONS = 10_000
_UNUSUAL = (b"connection", b"transfer-encoding")


class Cycle(httptools_impl.RequestResponseCycle):
    """uvicorn's, which examines an answer's headers one after the other; we send many, so here it is all at once.

    Whatever is unusual about an answer, or wrong with it, uvicorn handles as ever.
    """

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer."""
        head = None
        if message["type"] == "http.response.start" and not self.response_started and not self.flow.write_paused:
            head = self._usual_head(message["status"], [*self.default_headers, *message.get("headers", ())])
        if head is None:
            await super().send(message)
        elif not self.disconnected:
            self.response_started, self.waiting_for_100_continue = True, False
            self.transport.write(head)

    def _usual_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """Of an answer whose length is known, after which the connection stays open; None for any other."""
        fields = dict(headers)
        length = fields.get(b"content-length")
        if length is None or not self.keep_alive or self.access_log or not fields.keys().isdisjoint(_UNUSUAL):
            return None
        names, values = b"".join(fields), b"".join([value for _, value in headers])
        if not names.islower() or HEADER_RE.search(names) or HEADER_VALUE_RE.search(values):
            return None
        self.expected_content_length, self.chunked_encoding = int(length), False
        return b"".join([STATUS_LINE[status], *[b"%b: %b\r\n" % (name, value) for name, value in headers], b"\r\n"])


# The protocol takes whatever stands here.
httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a problem for what its parser refuses before there is a request, and for too many connections.

    uvicorn has a limit of its own, but it counts connections that only wait, and turns away everybody while it is
    reached; here whoever is connected goes on being answered.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, where there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._turn_away(OverloadedException())

    def send_400_response(self, msg: str) -> None:
        """Answer and close, since nobody knows where the next request would begin."""
        self.logger.debug(msg)
        self._turn_away(ValidationException("This is not a valid HTTP request."))

    def _turn_away(self, error: HealthServicesError) -> None:
        answer = of_error(error)
        headers = [*answer.raw_headers, (b"connection", b"close"), (b"cache-control", b"no-store")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
        self.transport.write(status + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
