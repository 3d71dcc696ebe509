"""Which web pages may call the API from a browser (CORS, WHATWG Fetch)."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from health_services.api.problems import of_error
from health_services.errors import ValidationException

OPTIONS = {
    "allow_methods": ["GET", "POST", "PUT", "DELETE"],
    "allow_headers": ["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "X-Request-ID"],
    "expose_headers": [
        *("ETag", "Idempotent-Replayed", "Link", "X-Request-ID"),
        *("RateLimit", "RateLimit-Policy", "Retry-After"),
    ],
    "max_age": 600,
}


class Cors(CORSMiddleware):
    """Starlette's, with our kind of error for a page that may not call."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks first."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        return of_error(ValidationException("This page, method or header is not allowed to call from a browser."))
