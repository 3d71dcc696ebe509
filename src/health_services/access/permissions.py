"""The permission table: who may come through which door at all.

Each endpoint names one permission with `@requires`; one that names none stops the start. What a role may do *there*
(his own record, his own slots, his own clinic) is decided by the feature's service, and described in docs/access.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    browser's form, which the endpoint does not read. `is_audited`: each request leaves a row in the audit; false only
    for what is about nobody. `is_account`: how one signs in oneself, which no API key reaches, and which stays open to
    whoever must still enrol a second factor or verify an address. `has_turns`: passwords are looked at in turn
    (auth/turns.py), and whoever waits for his keeps nobody from the database. `draws`: a table of which the id of a new
    row is drawn in the round trip that finds the caller (`drawn_id` in his account's row). `name` is the permission's,
    and the scope that an API key needs.
    """

    roles: frozenset[Role]
    token: Token = Token.REQUIRED
    cache: Literal["public", "private"] | None = None
    is_question: bool = False
    takes_token_in_query: bool = False
    takes_form: bool = False
    is_audited: bool = True
    is_account: bool = False
    has_turns: bool = False
    draws: Literal["appointments"] | None = None
    name: str = ""

    @property
    def is_public(self) -> bool:
        """Whether it is about nobody and asked by nobody."""
        return self.token is Token.IGNORED and not self.is_audited


P, D, S, A = Role.PATIENT, Role.DOCTOR, Role.STAFF, Role.ADMIN
_EVERYBODY = frozenset(Role)

_DIRECTORY = Rule(_EVERYBODY, Token.IGNORED, cache="public", is_audited=False)
# Who signs in is not known yet: what is sent proves it.
_ENTRANCE = Rule(_EVERYBODY, Token.IGNORED, is_account=True)
_BY_PASSWORD = replace(_ENTRANCE, has_turns=True)
_ACCOUNT = Rule(_EVERYBODY, is_account=True)


def _only(*roles: Role) -> Rule:
    return Rule(frozenset(roles))


PERMISSIONS: dict[str, Rule] = {
    "auth:register": Rule(_EVERYBODY, Token.WELCOME, has_turns=True),
    "auth:login": _BY_PASSWORD,
    "auth:refresh": _ENTRANCE,
    "auth:logout": _ENTRANCE,
    "auth:verify-email": _ENTRANCE,
    "auth:reset-password": _BY_PASSWORD,
    "auth:accept-invitation": _BY_PASSWORD,
    "auth:profile": Rule(_EVERYBODY, takes_token_in_query=True, is_account=True),
    "auth:sessions": _ACCOUNT,
    "auth:reauthenticate": replace(_ACCOUNT, has_turns=True),
    "auth:password": replace(_ACCOUNT, has_turns=True),
    "auth:resend-verification": _ACCOUNT,
    "auth:second-factors": _ACCOUNT,
    "api-keys:read": _ACCOUNT,
    "api-keys:write": _ACCOUNT,
    "users:me": _ACCOUNT,
    "users:read": _only(A),
    "users:write": _only(A),
    "users:invite": _only(A),
    "audit:read": _only(A),
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
    "patients:access-log": _only(P, D, S, A),
    "patients:export": _only(P, D, S, A),
    "patients:erase": _only(P, D, S, A),
    "patients:emergency": _only(D),
    "patients:invite": _only(S, A),
    "appointments:book": replace(_only(P, D, S, A), draws="appointments"),
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
    "push:key": Rule(_EVERYBODY, is_audited=False),
    "push-subscriptions:read": _only(P, D, S, A),
    "push-subscriptions:write": _only(P, D, S, A),
    "unsubscribe": Rule(_EVERYBODY, Token.IGNORED, takes_form=True),
    "webhooks:read": _only(A),
    "webhooks:write": _only(A),
}

# What an API key may be given: these, and «clinics:*» for all that begin so. The directory needs none.
SCOPES = frozenset(
    name
    for name, rule in PERMISSIONS.items()
    if (rule.token is Token.REQUIRED and not rule.is_account) or rule is _DIRECTORY
)

_MARK = "access_rule"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def requires(permission: str) -> Callable[[Endpoint], Endpoint]:
    """Mark an endpoint with the permission that it needs; raises KeyError for one that is not in the table."""
    rule = replace(PERMISSIONS[permission], name=permission)

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _MARK, rule)
        return endpoint

    return mark


def allows(scopes: frozenset[str], rule: Rule) -> bool:
    """Whether a key with these scopes may come through a door with this rule."""
    return not rule.is_account and bool(scopes & {rule.name, f"{rule.name.partition(':')[0]}:*"})


def rule_of(endpoint: Callable[..., Any]) -> Rule:
    """The rule of an endpoint; raises LookupError for one that names no permission."""
    rule: Rule | None = getattr(endpoint, _MARK, None)
    if rule is None:
        raise LookupError(f"{endpoint.__qualname__} names no permission: mark it with @requires")
    return rule
