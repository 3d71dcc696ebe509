"""The way of every request: who, may he, has he asked before, do it, commit, answer.

The framework would read the body before it asks who is calling, and would answer before a transaction is committed.
Here the order of refusals is 401, 403 by role, 400 of the form, then what the service finds; the answer goes out
after the commit; and a transaction that PostgreSQL sent away to make room for another is run again.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.permissions import Rule, Token, rule_of
from health_services.access.service import Caller, caller_of
from health_services.access.tokens import Tokens
from health_services.api.json_body import StrictRequest
from health_services.database import idempotency
from health_services.database.constraints import is_worth_retrying, translate
from health_services.database.engine import Database
from health_services.errors import (
    AuthenticationException,
    AuthorizationException,
    ConflictException,
    FieldError,
    ValidationException,
)

ATTEMPTS = 4
_IDEMPOTENCY_KEY = re.compile(r'"([ !#-~]{1,255})"|([ !#-~][ -~]{0,254})')

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """A route that keeps the order above; its endpoint names a permission."""

    def get_route_handler(self) -> Handler:
        """Wrap the framework's handler."""
        carry_out = super().get_route_handler()
        rule = rule_of(self.endpoint)
        parameters = get_flat_params(self.dependant)
        known = frozenset(field.alias for field in parameters if isinstance(field.field_info, Query))

        async def guarded(original: Request) -> Response:
            request = StrictRequest(original.scope, original.receive)
            database: Database = request.app.state.database
            try:
                request.state.caller = await _identify(request, rule, database)
                _refuse_unknown_parameters(request, known)
                if request.method == "GET":
                    return await _read(request, carry_out, rule, database)
                if not rule.takes_form:
                    await request.require_json()
                if rule.is_question:
                    return await _read(request, carry_out, rule, database)
                return await _write(request, carry_out, rule, database)
            except (DBAPIError, PoolTimeoutError, OSError) as error:
                refusal = translate(error)
                if refusal is None:
                    raise
                raise refusal from error

        return guarded


async def _identify(request: Request, rule: Rule, database: Database) -> Caller | None:
    """The caller whom the rule lets pass; he is looked up before, and apart from, the transaction."""
    if rule.token is Token.IGNORED:
        return None
    token = _bearer_token(request) or (request.query_params.get("token") if rule.takes_token_in_query else None)
    if token is None:
        if rule.token is Token.WELCOME:
            return None
        raise AuthenticationException
    tokens: Tokens = request.app.state.tokens
    user_id = tokens.user_id(token)
    async with database.reading() as session:
        caller = await caller_of(session, user_id)
    if caller.role not in rule.roles:
        raise AuthorizationException
    return caller


def _bearer_token(request: Request) -> str | None:
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationException("The Authorization header must be: Bearer <token>.")
    return token.strip()


def _refuse_unknown_parameters(request: Request, known: frozenset[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    errors = [FieldError(name[:100], "is not a known parameter") for name in dict.fromkeys(names) if name not in known]
    errors += [FieldError(name, "is given twice") for name in known if names.count(name) > 1]
    if errors:
        raise ValidationException("; ".join(f"{e.field}: {e.message}" for e in errors[:5]), errors=errors)


async def _read(request: Request, carry_out: Handler, rule: Rule, database: Database) -> Response:
    async with database.reading() as session:
        request.state.session = session
        response = await carry_out(request)
    if rule.cache is None or response.status_code != 200:
        return response
    seen = bytes(response.body) + response.headers.get("link", "").encode()
    etag = f'W/"{hashlib.blake2b(seen, digest_size=16).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": f"{rule.cache}, no-cache"}
    asked_for = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if asked_for & {etag, etag.removeprefix("W/"), "*"}:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


async def _write(request: Request, carry_out: Handler, rule: Rule, database: Database) -> Response:
    attempt = await _idempotent_attempt(request) if rule.token is Token.REQUIRED else None
    for tried in range(1, ATTEMPTS + 1):
        if tried > 1:
            await asyncio.sleep(random.uniform(0.005, 0.02) * 2**tried)  # noqa: S311 - jitter, not a secret
        async with database.writing() as session:
            request.state.session = session
            try:
                response = await _transact(request, carry_out, session, attempt)
            except DBAPIError as error:
                if not is_worth_retrying(error) or tried == ATTEMPTS:
                    raise
            else:
                if response is not None:
                    return response
    raise ConflictException


async def _transact(
    request: Request, carry_out: Handler, session: AsyncSession, attempt: idempotency.Attempt | None
) -> Response | None:
    """Run the request and commit; None if another request with the same key came first and this one was undone."""
    secret = request.app.state.tokens.secret
    if attempt and (kept := await idempotency.find(session, attempt, secret)):
        headers = {"Idempotent-Replayed": "true"}
        return Response(kept.body, kept.status, headers=headers, media_type="application/json")
    response = await carry_out(request)
    if attempt:
        answer = idempotency.Answer(response.status_code, bytes(response.body))
        if not await idempotency.keep(session, attempt, answer, secret):
            await session.rollback()
            return None
    await session.commit()
    return response


async def _idempotent_attempt(request: Request) -> idempotency.Attempt | None:
    key = request.headers.get("idempotency-key")
    caller: Caller | None = request.state.caller
    if key is None or caller is None or request.method != "POST":
        return None
    match = _IDEMPOTENCY_KEY.fullmatch(key)
    if match is None or len(request.headers.getlist("idempotency-key")) > 1:
        raise ValidationException.of("Idempotency-Key", "must be one key of 1 to 255 printable ASCII characters")
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return idempotency.Attempt(caller.id, match[1] or match[2], request.method, path, await request.body())
