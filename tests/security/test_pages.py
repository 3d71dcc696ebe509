"""The pages on security tell the truth: every test that they name exists, every place that they list is the code's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "health_services"
ATTACKS, ASVS, SECURITY = (ROOT / "docs" / f"{name}.md" for name in ("security-attacks", "security-asvs", "security"))
NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def names_in(source: str) -> Iterator[str]:
    """The tests of a file, those of a class with its name before them."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{test.name}" for test in node.body if isinstance(test, ast.AsyncFunctionDef))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name


def rows(page: Path, of: str = "#") -> list[list[str]]:
    """The rows of the page's table that begins with this column."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {of} |"))
    table = lines[
        start + 2 : start + 2 + next(n for n, line in enumerate([*lines[start + 2 :], ""]) if line[:1] != "|")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize("page", [ATTACKS, ASVS, SECURITY], ids=lambda page: page.stem)
def test_every_test_that_a_page_names_exists(page: Path):
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in set(names_in((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert missing == []
    assert len(named) == len(re.findall(r"`tests/[^`]*::[^`]*`", page.read_text(encoding="utf-8"))), "one was not read"


def test_every_attack_and_every_requirement_is_there_once_with_what_shows_it():
    for page, count in ((ATTACKS, 35), (ASVS, 42)):
        found = rows(page)
        assert [row[0] for row in found] == [str(number) for number in range(1, count + 1)]
        assert [row for row in found if not NAMED.search(" ".join(row))] == []


def test_every_further_class_has_its_test():
    found = rows(ATTACKS, of="class")
    assert len(found) >= 12
    assert [row for row in found if not NAMED.search(row[1])] == []


def test_the_state_of_each_requirement_is_said_and_what_is_missing():
    found = rows(ASVS)
    assert {row[3] for row in found} == {"shown", "partly", "none"}
    assert [row[0] for row in found if row[3] == "partly" and len(re.sub(NAMED, "", row[4])) < 20] == []


def places_of(source: str) -> Iterator[str]:
    """The functions in which a block is run as the service."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "as_service":
                    yield function.name


def test_every_place_that_acts_as_the_service_is_listed_and_no_other():
    acting = {
        f"{path.relative_to(SOURCE)}, {name}"
        for path in SOURCE.rglob("*.py")
        for name in places_of(path.read_text(encoding="utf-8"))
    }
    listed = [re.sub("`", "", row[0]) for row in rows(SECURITY, of="where")]
    assert len(listed) == len(set(listed))
    assert set(listed) == acting


def test_a_place_would_be_seen():
    assert list(places_of("async def f(session):\n    async with as_service(session):\n        pass\n")) == ["f"]


def test_every_function_that_sees_more_is_listed():
    """What runs with the owner's rights is named in the migrations; the page says why each does."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "migrations" / "versions").glob("*.py")))
    statements = re.split(r"CREATE (?:OR REPLACE )?FUNCTION ", text)[1:]
    more = {
        statement.partition("(")[0]
        for statement in statements
        if "SECURITY DEFINER" in statement.partition("$$")[0] or "{DEFINER}" in statement.partition("$$")[0]
    }
    more |= set(re.findall(r"ALTER FUNCTION (\w+)\([^)]*\) SECURITY DEFINER", text))
    page = SECURITY.read_text(encoding="utf-8")
    assert len(more) > 8
    assert sorted(name for name in more if f"`{name}" not in page) == []
