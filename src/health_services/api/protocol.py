"""What is no HTTP at all gets our kind of error too, and so does one connection too many."""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from health_services.api.problems import of_error
from health_services.errors import HealthServicesError, OverloadedException, ValidationException

# Of one process. One that waits takes up 3 KB, with a body on its way 30: 300 MB together at the very most.
MOST_CONNECTIONS = 10_000


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
