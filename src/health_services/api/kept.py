"""Answers of the public directory that are given again without asking anybody, as long as they hold. Pure ASGI."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from health_services.freshness.answers import Answer, Answers, Keeping, Key

# Whoever waited this often for others' answers, which were old before he saw them, finds his own.
_PATIENCE = 3


class Kept:
    """Gives answers that were kept, each as it was; one request finds it, others for the same wait.

    Stands in front of the router, since finding the route costs more than the answer; whatever counts and logs
    requests stands before it.
    """

    def __init__(self, app: ASGIApp, answers: Answers, public: re.Pattern[str], *, is_old: bool = False) -> None:
        """`public` are the paths whose answers are the same for everybody.

        `is_old`: what is found may be behind, as a replica's is, for all but those who show who they are; they are
        given nothing that others found.
        """
        self._app = app
        self._answers = answers
        self._public = public
        self._is_old = is_old

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "GET" or (self._is_old and _is_somebody(scope)):
            await self._app(scope, receive, send)
            return
        key: Key = scope["path"], scope["query_string"]
        for _ in range(_PATIENCE):
            answer = self._answers.get(key)
            if answer is not None:
                await _give(answer, scope, send)
                return
            if not self._public.fullmatch(key[0]):
                break
            if await self._answers.turn(key):
                await self._find(key, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _find(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["keeping"] = Keeping(self._answers, key)
        try:
            await self._app(scope, receive, send)
        finally:
            self._answers.done(key)


def _is_somebody(scope: Scope) -> bool:
    return any(name in {b"authorization", b"x-api-key"} for name, _ in scope["headers"])


async def _give(answer: Answer, scope: Scope, send: Send) -> None:
    scope.update(answer.route)  # for the log
    known = b",".join([value for name, value in scope["headers"] if name == b"if-none-match"])
    if known and is_known(answer.etag, known.decode("latin-1")):
        await send({"type": "http.response.start", "status": 304, "headers": list(answer.headers_of_304)})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body})


def is_known(etag: str, known: str) -> bool:
    """Whether a caller who knows these versions (If-None-Match) has the one of this weak ETag (RFC 9110)."""
    return not {tag.strip() for tag in known.split(",")}.isdisjoint((etag, etag.removeprefix("W/"), "*"))
