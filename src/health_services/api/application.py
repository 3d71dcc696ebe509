"""The framework's application, with our own middlewares in front of all of it."""

from typing import Any

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """FastAPI; what stands in front of it sees a request before the framework has done anything for it.

    Middlewares that are added the framework's way stand behind its telemetry and its handling of crashes, which cost
    more than to give an answer that was kept.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._front: ASGIApp = super().__call__

    def put_in_front(self, middleware: type[Any], **options: Any) -> None:
        """Let this middleware see a request before everything else does, what was put here earlier included."""
        self._front = middleware(self._front, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        scope["app"] = self
        await self._front(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """The framework's own, without its answer to a crash: `Surroundings`, in front of it, has a better one."""
        stack = super().build_middleware_stack()
        assert isinstance(stack, ServerErrorMiddleware)
        return stack.app
