"""How much traffic is taken: every request counts against its address, and answers say how much is left."""

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from health_services.api.brake import Brake
from health_services.api.origin import address_of
from health_services.api.problems import of_error
from health_services.errors import RateLimitedException
from health_services.limits.limiter import Limiter
from health_services.written_limits import Standing

Headers = list[tuple[bytes, bytes]]


async def count(source: HTTPConnection | Scope, name: str, *key: str) -> None:
    """Count a request against a limit, and let the answer tell how far that is used up.

    Raises RateLimitedException where it is exhausted. `source` is the request or its scope.
    """
    limiter: Limiter = source["app"].state.limiter
    standing = await limiter.hit(name, *key)
    if standing is not None:
        source["state"]["ratelimit"].append(standing)


def headers_of(scope: Scope) -> Headers:
    """RateLimit and RateLimit-Policy of the tightest of the limits that the request was counted against."""
    standings: list[Standing] = scope["state"].get("ratelimit", ())
    if not standings:
        return []
    tightest = min(standings, key=lambda standing: standing.remaining / standing.quota)
    return [(name.lower().encode(), value.encode()) for name, value in tightest.headers.items()]


class Traffic:
    """Counts each request against its address before anything is done for it.

    An answer bears `headers_of` the request, or those of the limit that refused it; `Surroundings` sees to that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._brake = Brake()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["state"]["ratelimit"] = []
        try:
            await count(scope, "address", address_of(scope))
        except RateLimitedException as refused:
            await self._brake.slow_down()
            await of_error(refused)(scope, receive, send)
            return
        await self._app(scope, receive, send)
