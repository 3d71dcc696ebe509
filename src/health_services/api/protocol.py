"""What is no HTTP at all gets our kind of error too."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from health_services.api.problems import of_error
from health_services.errors import ValidationException


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a problem for what its parser refuses before there is a request."""

    def send_400_response(self, msg: str) -> None:
        """Answer and close, since nobody knows where the next request would begin."""
        self.logger.debug(msg)
        answer = of_error(ValidationException("This is not a valid HTTP request."))
        headers = [*answer.raw_headers, (b"connection", b"close"), (b"cache-control", b"no-store")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
