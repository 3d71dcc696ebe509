"""The permission table: who may come through which door at all.

Each endpoint names one permission with `@requires`; one that names none stops the start. What a role may do *there*
(his own record, his own slots, his own clinic) is decided by the feature's service, and described in docs/access.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeVar

from health_services.users.models import Role


class Token(Enum):
    """Whether a door looks at the caller's token."""

    IGNORED = "ignored"
    WELCOME = "welcome"
    REQUIRED = "required"


@dataclass(frozen=True)
class Rule:
    """Which roles may pass.

    `cache`: who may keep the answer, anybody or only the caller, and ask each time whether it still holds (ETag); None
    for nobody. `is_question`: a POST that changes nothing, asked anew each time. `takes_form`: what is sent is a
    browser's form, which the endpoint does not read.
    """

    roles: frozenset[Role]
    token: Token = Token.REQUIRED
    cache: Literal["public", "private"] | None = None
    is_question: bool = False
    takes_token_in_query: bool = False
    takes_form: bool = False


P, D, S, A = Role.PATIENT, Role.DOCTOR, Role.STAFF, Role.ADMIN
_EVERYBODY = frozenset(Role)

_DIRECTORY = Rule(_EVERYBODY, Token.IGNORED, cache="public")


def _only(*roles: Role) -> Rule:
    return Rule(frozenset(roles))


PERMISSIONS: dict[str, Rule] = {
    "auth:register": Rule(_EVERYBODY, Token.WELCOME),
    "auth:login": Rule(_EVERYBODY, Token.IGNORED),
    "auth:profile": Rule(_EVERYBODY, takes_token_in_query=True),
    "clinics:read": _DIRECTORY,
    "clinics:write": _only(A),
    "clinics:staff": _only(A),
    "doctors:read": _DIRECTORY,
    "doctors:write": _only(A),
    "doctors:appointments": _only(D, S, A),
    "slots:read": _DIRECTORY,
    "slots:write": _only(D, S, A),
    "slots:delete": _only(S, A),
    "patients:create": _only(D, S, A),
    "patients:search": Rule(frozenset({S, A}), is_question=True),
    "patients:read": _only(P, D, S, A),
    "patients:write": _only(P, D, S, A),
    "patients:appointments": _only(P, D, S, A),
    "appointments:book": _only(P, D, S, A),
    "appointments:cancel": _only(P, D, S, A),
    "appointments:read": _only(P, D, S, A),
    "appointments:write": _only(D, A),
    "appointments:list": _only(S, A),
    "calendar-feed:read": _only(P, D, S, A),
    "calendar-feed:write": _only(P, D, S, A),
    "calendar:read": Rule(_EVERYBODY, Token.IGNORED, cache="private"),
    "notifications:read": _only(A),
    "notifications:write": _only(A),
    "notifications:unreachable": _only(S, A),
    "preferences:read": _only(P, D, S, A),
    "preferences:write": _only(P, D, S, A),
    "push:key": _only(P, D, S, A),
    "push-subscriptions:read": _only(P, D, S, A),
    "push-subscriptions:write": _only(P, D, S, A),
    "unsubscribe": Rule(_EVERYBODY, Token.IGNORED, takes_form=True),
    "webhooks:read": _only(A),
    "webhooks:write": _only(A),
}

_MARK = "access_rule"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def requires(permission: str) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint with the permission that it needs; raises KeyError for one that is not in the table."""
    rule = PERMISSIONS[permission]

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, rule)
        return endpoint

    return mark


def rule_of(endpoint: Callable[..., Any]) -> Rule:
    """The rule of an endpoint; raises LookupError for one that names no permission."""
    rule: Rule | None = getattr(endpoint, _MARK, None)
    if rule is None:
        raise LookupError(f"{endpoint.__qualname__} names no permission: mark it with @requires")
    return rule
