"""How limits are written: by an operator in the settings, and for callers in the headers of an answer."""

import json
import re
from dataclasses import dataclass

from limits import RateLimitItem, parse

# What each counts, and for whom, is told in docs/operations.md.
DEFAULTS = {
    "address": "1200/minute",
    "caller": "600/minute",
    "api_key": "600/minute",
    "login": "10/5 minutes",
    "login_address": "30/minute",
    "mfa": "10/5 minutes",
    "register": "20/hour",
    "mail_target": "3/hour",
    "mail_address": "20/hour",
    "export": "10/hour",
}
OFF = "off"
# Counters have 32 bits, and a window is kept for twice its length.
MOST = 1_000_000_000
LONGEST_SECONDS = 366 * 24 * 3600
# Stricter than the library, which takes 10/0 minutes for 10/minute, and of several limits the first.
_UNIT = "(second|minute|hour|day|month|year)s?"
_NOTATION = re.compile(rf"\s*[1-9]\d{{0,9}}\s*(/|per)\s*([1-9]\d{{0,8}})?\s*{_UNIT}\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a limit is used up: `remaining` of `quota` in each `window`, and seconds until there is more."""

    name: str
    quota: int
    window: int
    remaining: int
    reset: int

    @property
    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers writes it."""
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.quota};w={self.window}',
            "RateLimit": f'"{self.name}";r={self.remaining};t={self.reset}',
        }


def limits_of(text: str) -> dict[str, RateLimitItem] | None:
    """Every limit by its name, with what `text` says otherwise: a JSON object such as {"login": "10/5 minutes"}.

    None for "off". Raises ValueError with the name of what is unknown or malformed.
    """
    if text == OFF:
        return None
    return {name: parse(limit) for name, limit in DEFAULTS.items()} | _overrides(text)


def _overrides(text: str) -> dict[str, RateLimitItem]:
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ValueError('must be off, or a JSON object such as {"login": "10/5 minutes"}')  # noqa: TRY004 - for a setting
    return {_known(name): _limit(name, written) for name, written in given.items()}


def _known(name: str) -> str:
    if name not in DEFAULTS:
        raise ValueError(f"{name!r} is no limit; there are {', '.join(DEFAULTS)}")
    return name


def _limit(name: str, written: object) -> RateLimitItem:
    if not isinstance(written, str) or not _NOTATION.fullmatch(written):
        raise ValueError(f"{name} must be written as in 10/5 minutes or 600/minute")
    limit = parse(written)
    if limit.amount > MOST or limit.get_expiry() > LONGEST_SECONDS:
        raise ValueError(f"{name} must be at most {MOST}, in at most a year")
    return limit
