"""Who is calling: what a request shows of itself, and what the database says of that."""

import re
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.permissions import Rule, Token, allows
from health_services.access.repository import Besides
from health_services.access.service import NO_KEY, Caller, act_as, act_as_key
from health_services.access.tokens import Bearer, Tokens
from health_services.access.trail import Trail
from health_services.errors import AuthenticationException, AuthorizationException
from health_services.settings import Settings

_API_KEY = re.compile(r"hs_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Key:
    """An API key as it was sent."""

    prefix: str
    secret: str


def credential_of(request: Request, rule: Rule) -> Bearer | Key | None:
    """What the request shows of who is calling, as far as that can be told without the database.

    None where the door does not ask, or welcomes strangers. Raises AuthenticationException.
    """
    if rule.token is Token.IGNORED:
        return None
    shown = _shown(request) or (request.query_params.get("token") if rule.takes_token_in_query else None)
    if shown is None:
        if rule.token is Token.WELCOME:
            return None
        raise AuthenticationException
    key = _API_KEY.fullmatch(shown)
    if key is not None:
        return Key(key[1], key[2])
    tokens: Tokens = request.app.state.tokens
    return tokens.read(shown)


def _shown(request: Request) -> str | None:
    headers = request.headers.getlist("authorization")
    keys = request.headers.getlist("x-api-key")
    if len(headers) + len(keys) > 1:
        raise AuthenticationException("Send one Authorization or X-API-Key header, not several.")
    if keys:
        if not _API_KEY.fullmatch(keys[0]):
            raise AuthenticationException(NO_KEY)
        return keys[0]
    if not headers:
        return None
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationException("The Authorization header must be: Bearer <token>.")
    return token.strip()


async def identify(
    session: AsyncSession,
    credential: Bearer | Key | None,
    rule: Rule,
    trail: Trail,
    settings: Settings,
    key_hash: bytes | None,
) -> Caller | None:
    """The caller whom the rule lets pass; the transaction acts for him from now on.

    `key_hash` is that of the idempotency key that he sent, if any: his account's row then tells of it.

    Raises AuthenticationException, and AuthorizationException where the role, the scopes of the key, or what the
    account still lacks do not let him in.
    """
    if credential is None:
        return None
    besides = Besides(key_hash, rule.draws)
    if isinstance(credential, Key):
        caller = await act_as_key(session, credential.prefix, credential.secret, trail, besides)
    else:
        caller = await act_as(session, credential.user_id, credential.session_id, trail, besides)
    if caller.role not in rule.roles:
        raise AuthorizationException
    if caller.scopes is not None and rule.is_account:
        raise AuthorizationException("No API key can do this: sign in.")
    if caller.scopes is not None and not allows(caller.scopes, rule):
        raise AuthorizationException(f"This API key lacks the scope {rule.name}.")
    if not rule.is_account:
        _insist_on_complete(caller, settings)
    return caller


def _insist_on_complete(caller: Caller, settings: Settings) -> None:
    """Raise AuthorizationException where this installation asks more of the account than it has."""
    if caller.role in settings.require_mfa_roles and not caller.has_second_factor:
        raise AuthorizationException("Your role needs a second factor: enrol one first (POST /auth/mfa/totp).")
    if settings.require_verified_email and not caller.account.is_verified:
        raise AuthorizationException("Verify your e-mail address first (POST /auth/email/verification).")
