"""The way of every request: who, may he, has he asked before, do it, note it, commit, answer.

The framework would read the body before it asks who is calling, and would answer before a transaction is committed.
Here the order of refusals is 401, 403 by role, 400 of the form, then what the service finds; the answer goes out
after the commit; and a transaction that PostgreSQL sent away to make room for another is run again. Whatever becomes
of it, a request through an audited door leaves exactly one row in the audit.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from health_services.access.identification import Key, credential_of, identify
from health_services.access.permissions import Rule, Token, rule_of
from health_services.access.recording import Refusals, record, trail_of
from health_services.access.tokens import Bearer
from health_services.access.trail import Trail
from health_services.api.calling import prepared
from health_services.api.json_body import StrictRequest
from health_services.api.kept import is_known
from health_services.api.traffic import count
from health_services.database import idempotency
from health_services.database.changes import touched
from health_services.database.constraints import is_worth_retrying, translate
from health_services.database.engine import Database
from health_services.database.postponed import write_all
from health_services.errors import ConflictException, FieldError, HealthServicesError, ValidationException
from health_services.freshness.answers import Answer, Keeping

ATTEMPTS = 4
_IDEMPOTENCY_KEY = re.compile(r'"([ !#-~]{1,255})"|([ !#-~][ -~]{0,254})')

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """A route that keeps the order above; its endpoint names a permission."""

    def get_route_handler(self) -> Handler:
        """Wrap the framework's handler."""
        rule = rule_of(self.endpoint)
        parameters = get_flat_params(self.dependant)
        known = frozenset(field.alias for field in parameters if isinstance(field.field_info, Query))
        door = _Door(prepared(self, super().get_route_handler()), rule, known)

        async def guarded(original: Request) -> Response:
            request = StrictRequest(original.scope, original.receive)
            trail = request.state.trail = trail_of(request, self.name)
            try:
                return await _answer(request, door, trail)
            except ClientDisconnect:
                raise  # he hung up before he had asked
            except Exception as error:
                if rule.is_audited:
                    refusals: Refusals = request.app.state.refusals
                    await refusals.record(trail, error)
                raise

        return guarded


@dataclass(frozen=True)
class _Door:
    """An endpoint: the framework's handler, its rule, and the query parameters that it knows."""

    carry_out: Callable[[Request], Awaitable[Response]]
    rule: Rule
    known: frozenset[str]


async def _answer(request: StrictRequest, door: _Door, trail: Trail) -> Response:
    """Answer, with what the database refuses in the caller's words."""
    database: Database = request.app.state.database
    try:
        credential = credential_of(request, door.rule)
        if request.method == "GET" and not door.rule.is_audited and credential is None:
            return await _browse(request, door, database)
        await _count(request, credential)
        # Nobody holds a connection while a body comes in; what is wrong with it is said when it is its turn.
        unread = await _body_error(request)
        return await _transact(request, door, database, _Ask(credential, unread), trail)
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        refusal = translate(error)
        if refusal is None:
            raise
        raise refusal from error


async def _count(request: Request, credential: Bearer | Key | None) -> None:
    """Raise RateLimitedException for whoever calls too often; no database is asked."""
    if isinstance(credential, Key):
        # with its secret: who only knows how a key begins uses nothing up
        await count(request, "api_key", credential.prefix, credential.secret)
    elif credential is not None:
        # of each session, so that one that has ended uses up nothing of its owner's others
        await count(request, "caller", str(credential.user_id), str(credential.session_id))


@dataclass(frozen=True)
class _Ask:
    """What came with a request: who it says is calling, and what is wrong with its body."""

    credential: Bearer | Key | None
    unread: HealthServicesError | None


async def _body_error(request: StrictRequest) -> HealthServicesError | None:
    if request.method == "GET":
        return None
    try:
        await request.body()
    except HealthServicesError as error:
        return error
    return None


def _refuse_unknown_parameters(request: Request, known: frozenset[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    errors = [FieldError(name[:100], "is not a known parameter") for name in dict.fromkeys(names) if name not in known]
    errors += [FieldError(name, "is given twice") for name in known if names.count(name) > 1]
    if errors:
        raise ValidationException("; ".join(f"{e.field}: {e.message}" for e in errors[:5]), errors=errors)


async def _browse(request: Request, door: _Door, database: Database) -> Response:
    """The public directory: each statement on its own, nobody asked, nothing noted."""
    request.state.caller = None
    _refuse_unknown_parameters(request, door.known)

    async def look(session: AsyncSession) -> Response:
        request.state.session = session
        return _cacheable(request, door.rule, await door.carry_out(request))

    # Who has changed something sees it at once, since he shows who he is; a replica may lag behind.
    is_somebody = "authorization" in request.headers or "x-api-key" in request.headers
    return await database.browsing.read(look, from_main=is_somebody)


def _cacheable(request: Request, rule: Rule, response: Response) -> Response:
    if rule.cache is None or request.method != "GET" or response.status_code != 200:
        return response
    seen = bytes(response.body) + response.headers.get("link", "").encode()
    etag = f'W/"{hashlib.blake2b(seen, digest_size=16).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": f"{rule.cache}, no-cache"}
    response.headers.update(headers)
    not_modified = Response(status_code=304, headers=headers)
    keeping: Keeping | None = request.scope["state"].get("keeping")
    if keeping is not None:
        route = {name: request.scope[name] for name in ("endpoint", "path_params", "route")}
        raw, short = tuple(response.raw_headers), tuple(not_modified.raw_headers)
        keeping.keep(Answer(raw, short, etag, bytes(response.body), route))
    return not_modified if is_known(etag, request.headers.get("if-none-match", "")) else response


async def _transact(request: StrictRequest, door: _Door, database: Database, ask: _Ask, trail: Trail) -> Response:
    for tried in range(1, ATTEMPTS + 1):
        if tried > 1:
            trail.forget_objects()
            await asyncio.sleep(random.uniform(0.005, 0.02) * 2**tried)  # noqa: S311 - jitter, not a secret
        async with database.writing() as session:
            request.state.session = session
            try:
                response = await _once(request, door, session, ask, trail)
            except DBAPIError as error:
                if not is_worth_retrying(error) or tried == ATTEMPTS:
                    raise
            else:
                if response is not None:
                    return response
    raise ConflictException


async def _once(request: StrictRequest, door: _Door, session: AsyncSession, ask: _Ask, trail: Trail) -> Response | None:
    """Run the request and commit; None if another request with the same key came first and this one was undone."""
    rule, secrets = door.rule, request.app.state.tokens.secrets
    key = _key_of(request, rule)
    key_hash = idempotency.hash_of(key) if isinstance(key, str) else None
    caller = await identify(session, ask.credential, rule, trail, request.app.state.settings, key_hash)
    request.state.caller = caller
    _refuse_unknown_parameters(request, door.known)
    attempt = None
    if request.method != "GET":
        if ask.unread is not None:
            raise ask.unread
        if not rule.takes_form:
            await request.require_json()
        if isinstance(key, ValidationException):
            raise key
        if key is not None and caller is not None:
            attempt = idempotency.Attempt(caller.id, key, request.method, _target(request), await request.body())
    if attempt and caller and (kept := idempotency.kept(caller.account, attempt, secrets)):
        trail.concern_again(kept.about)
        headers = {"Idempotent-Replayed": "true"}
        response = Response(kept.body, kept.status, headers=headers, media_type="application/json")
    else:
        response = _cacheable(request, rule, await door.carry_out(request))
        if attempt:
            _keep(session, attempt, rule, response, trail, secrets[0])
    if rule.is_audited:
        record(session, trail, response.status_code)
    if not idempotency.was_first(await write_all(session)):
        await session.rollback()
        return None
    try:
        await session.commit()
    finally:  # where that failed, nobody knows whether it was committed
        request.app.state.versions.change(touched(session))
    return response


def _keep(
    session: AsyncSession,
    attempt: idempotency.Attempt,
    rule: Rule,
    response: Response,
    trail: Trail,
    secret: bytes,
) -> None:
    """Let the answer be given again to whoever sends this again; secrets are shown only once."""
    body = bytes(response.body)
    if rule.is_account and body:
        idempotency.keep_only_that(session, attempt, response.status_code)
    else:
        idempotency.keep(session, attempt, idempotency.Answer(response.status_code, body, trail.about()), secret)


def _key_of(request: Request, rule: Rule) -> str | ValidationException | None:
    """The idempotency key that came with a request that may have one, or what is wrong with it."""
    keys = request.headers.getlist("idempotency-key")
    if not keys or request.method != "POST" or rule.token is not Token.REQUIRED or rule.is_question:
        return None
    match = _IDEMPOTENCY_KEY.fullmatch(keys[0])
    if match is None or len(keys) > 1:
        return ValidationException.of("Idempotency-Key", "must be one key of 1 to 255 printable ASCII characters")
    return match[1] or match[2]


def _target(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
