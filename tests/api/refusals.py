"""Tables of bad values, and the one way to try them: each is refused by name and changes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from tests.api.answers import digest, refusal

MISSING = object()
BIGINT = 2**63


@dataclass(frozen=True)
class Wrong:
    """A body that differs from a good one in these fields, and the fields that the refusal names.

    A `body` takes the place of the good one; MISSING leaves a field out.
    """

    changes: Any = None
    fields: tuple[str, ...] = ()
    code: str = "VALIDATION_ERROR"
    body: Any = MISSING

    def of(self, good: dict[str, Any]) -> Any:
        """What is sent."""
        if self.body is not MISSING:
            return self.body
        return {name: value for name, value in (good | self.changes).items() if value is not MISSING}


def each(field: str, *values: Any) -> list[Wrong]:
    """The field with each of these values is refused by its name."""
    return [Wrong({field: value}, (field,)) for value in values]


def bodies(*required: str) -> list[Wrong]:
    """What is wrong with any endpoint's body, and each required field left out or null."""
    others: tuple[Any, ...] = ("text", 5, True, [])
    cases = [Wrong(body=body, fields=("body",)) for body in others]
    cases += [Wrong({"surprise": 1}, ("surprise",)), Wrong({"id": 1}, ("id",)), Wrong({"": 1}, ("body",))]
    cases += [Wrong(body={}, fields=required)] if required else []
    return cases + [case for field in required for case in each(field, MISSING, None)]


def texts(field: str, maximum: int, *, lines: bool = False, required: bool = False) -> list[Wrong]:
    """Texts that are too long, hold control characters, or are none."""
    controls = ["a\x00b", "a\x07b", "a\x1bb", "a\x7fb", "a\x85b", *([] if lines else ["a\nb", "a\tb", "a\r\nb"])]
    blank = ["", "   ", "\t\n", "\u00a0\u2003"] if required else []
    return each(field, "x" * (maximum + 1), "x" * 10_240, *controls, *blank, 1, 1.5, True, ["a"], {"a": 1})


def numbers(field: str, least: int, most: int) -> list[Wrong]:
    """Numbers out of bounds, and what is not a whole number."""
    return each(field, least - 1, most + 1, -BIGINT - 1, BIGINT, 10**300, 7.5, 7.0, "7", "", True, None, [7], {})


def ids(field: str) -> list[Wrong]:
    """What no id can be."""
    return numbers(field, 1, BIGINT - 1)


def choices(field: str, *, nullable: bool = False) -> list[Wrong]:
    """What is none of a field's few values."""
    return each(field, "", "nothing such", 1, True, [], *([] if nullable else [None]))


def emails(field: str, *, nullable: bool = False) -> list[Wrong]:
    """What is no e-mail address."""
    wrong = [
        "plain", "@example.org", "a@", "a b@example.org", "a@b@c.org", "a@exa mple.org", "a@example..org",
        "a@-example.org", "\u00e9\u00e9@example.org", "a\x00@example.org", "a@example.org\x00", "Name <a@example.org>",
        "a@[127.0.0.1]", f"{'a' * 250}@example.org", f"a@{'b.' * 130}org", 1, True, [], {},
    ]  # fmt: skip
    return each(field, *wrong, *([] if nullable else [None, "", "  "]))


INSTANTS = (
    "2031-03-01T10:00:00", "2031-03-01", "2031-03-01 10:00:00Z", "2031-03-01T10:00Z", "2031-W10-1T10:00:00Z",
    "2031-02-29T10:00:00Z", "2031-13-01T10:00:00Z", "2031-03-01T25:00:00Z", "2031-03-01T10:61:00Z",
    "2030-12-31T23:59:60Z", "2031-03-01T10:00:00+25:00", "2031-03-01T10:00:00+0100", "20310301T100000Z",
    "0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z", "-2031-03-01T10:00:00Z", "now", "tomorrow", "", "infinity", "1900000000",
    "\u0662\u0660\u0663\u0661-03-01T10:00:00Z", "2031-03-01T10:00:00Z\x00",
)  # fmt: skip


def instants(field: str) -> list[Wrong]:
    """Naive, absurd and malformed instants, and what is no text."""
    return each(field, *INSTANTS, 1_900_000_000, 1.9e9, True, None, [], {})


async def all_refused(
    api: httpx.AsyncClient,
    owner: asyncpg.Connection,
    request: tuple[str, str],
    headers: dict[str, str],
    good: dict[str, Any],
    cases: Iterable[Wrong],
) -> None:
    """Send each case; the refusal has the contract's form, names the fields, and no row of any table changed.

    A request without any body is among them, and all failures are told together.
    """
    method, path = request
    before = await digest(owner)
    failures = []
    for case in cases:
        answer = await api.request(method, path, json=case.of(good), headers=headers)
        try:
            refusal(answer, case.code, *case.fields)
            assert await digest(owner) == before, "something changed"
        except AssertionError as error:
            failures.append(f"{str(case)[:160]}: {answer.status_code} {str(error)[:300]}")
            before = await digest(owner)
    assert not failures, "\n".join([*failures[:8], f"{len(failures)} in all"])


async def urls_refused(
    api: httpx.AsyncClient, owner: asyncpg.Connection, headers: dict[str, str], cases: dict[str, str], method: str
) -> None:
    """Ask for each address; the refusal names the parameter, and nothing changed."""
    before = await digest(owner)
    failures = []
    for address, field in cases.items():
        body: Any = {} if method in {"POST", "PUT"} else None
        answer = await api.request(method, address, headers=headers, json=body)
        try:
            errors = {error["field"] for error in answer.json().get("errors", [])}
            refusal(answer, "VALIDATION_ERROR", *errors)
            assert field in errors
        except AssertionError as error:
            failures.append(f"{address[:100]}: {answer.status_code} {str(error)[:200]}")
    assert not failures, "\n".join([*failures[:8], f"{len(failures)} in all"])
    assert await digest(owner) == before


BAD_IDS = ("abc", "0", "-1", "1.0", "1e3", "%201", "+1", "1_0", "%D9%A1", "1%00", str(BIGINT), "9" * 40, "9" * 5000)
BAD_PAGES = (
    "skip=-1", "skip=a", "skip=", "skip=1.5", "skip=1000001", f"skip={BIGINT}", "limit=0", "limit=-1", "limit=101",
    "limit=abc", f"limit={'9' * 5000}", "skip=1&skip=2", "limit=%00",
    # texts that are no cursor; no id, a negative one, one in other words, one part too many, no instant of the calendar
    "cursor=", "cursor=a", "cursor=1", "cursor=%00", f"cursor={'A' * 5000}", "cursor=%D9%A1AAAAAAAAAE",
    "cursor=AAAAAAAAAAA", "cursor=__________8", "cursor=AAAAAAAAAAF", "cursor=AAAAAAAAAAE%3D", "cursor=%20AAAAAAAAAAE",
    f"cursor={'A' * 31}E", f"cursor=f{'_' * 9}-AAAAAAAAAAE", f"cursor=gA{'A' * 19}Q", f"cursor={'A' * 22}",
    "skip=0&cursor=AAAAAAAAAAE", "cursor=AAAAAAAAAAE&cursor=AAAAAAAAAAE",
)  # fmt: skip


def bad_pages(path: str) -> dict[str, str]:
    """A list's address with each wrong page, and with a parameter that nobody knows."""
    joint = "&" if "?" in path else "?"
    return {f"{path}{joint}{page}": page.partition("=")[0] for page in BAD_PAGES} | {
        f"{path}{joint}surprise=1": "surprise"
    }


def bad_ids(path: str, name: str) -> dict[str, str]:
    """The address with each id that no id can be, in place of {}."""
    return {path.format(value): name for value in BAD_IDS}


def bad_instants(path: str, *names: str) -> dict[str, str]:
    """The address with each malformed instant as a query parameter."""
    return {str(httpx.URL(path, params={name: value})): name for name in names for value in INSTANTS}
