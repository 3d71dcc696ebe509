"""What the project promises of its own shape: layers, sizes, locked dependencies, one-word commands."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from health_services import main

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "health_services"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = [contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]]
LONGEST_FILE, LONGEST_FUNCTION = 300, 40
# For each contract: the file that would break it, and the line with which it would.
VIOLATIONS = {
    "In a feature: endpoints > service > schemas | repository > models > errors": (
        "clinics/repository.py", "import health_services.clinics.service",
    ),
    "Between features: each knows only what stands below it": (
        "clinics/service.py", "import health_services.appointments.models",
    ),
    "Rules know nothing of HTTP": ("clinics/service.py", "from fastapi import HTTPException"),
    "HTTP and shapes know nothing of SQL": ("clinics/endpoints.py", "from sqlalchemy import text"),
}  # fmt: skip


def python_files() -> Iterator[Path]:
    """Ours; a migration is left alone once it is released, and is read from top to bottom like the table it makes."""
    for part in ("src", "tests", "benchmarks", "security"):
        yield from sorted((ROOT / part).rglob("*.py"))


def lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", project / "pyproject.toml"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source and its contracts, to be broken."""
    shutil.copytree(SOURCE, tmp_path / "src" / "health_services", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_every_contract_has_a_violation_here():
    assert list(VIOLATIONS) == CONTRACTS


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_planted_violation_breaks_its_contract(contract: str, copy: Path):
    name, line = VIOLATIONS[contract]
    file = copy / "src" / "health_services" / name
    file.write_text(f"{file.read_text()}\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1
    broken = re.findall(r"^(.+) BROKEN$", done.stdout, re.MULTILINE)
    assert broken == [contract]


def test_a_new_feature_must_take_its_place():
    """Every part that has the files of a feature is named in the contracts, so none escapes them."""
    parts = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    parts |= {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    layers = " ".join(PROJECT["tool"]["importlinter"]["contracts"][1]["layers"])
    assert parts == set(re.findall(r"health_services\.(\w+)", layers))
    features = {path.parent.name for path in SOURCE.glob("*/service.py")} | {
        path.parent.name for path in SOURCE.glob("*/endpoints.py")
    }
    containers = PROJECT["tool"]["importlinter"]["contracts"][0]["containers"]
    assert features <= {container.partition(".")[2] for container in containers}


def too_long(source: str) -> list[str]:
    """Functions of 40 lines or more, by name."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, functions) and (node.end_lineno or 0) - node.lineno + 1 >= LONGEST_FUNCTION
    ]


def test_files_and_functions_are_short():
    found = [f"{path.relative_to(ROOT)}: {name}" for path in python_files() for name in too_long(path.read_text())]
    assert found == []
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: count for name, count in lines.items() if count >= LONGEST_FILE} == {}


def test_a_long_function_would_be_seen():
    body = "    x = 1\n" * (LONGEST_FUNCTION - 1)
    assert too_long(f"async def f():\n{body}") == ["f"]
    assert too_long(f"class C:\n    def f(self):\n{body.replace('    x', '        x')}") == ["f"]
    assert too_long(f"def f():\n{body[10:]}") == []


def test_status_codes_stay_at_the_edge():
    wrong = [path for path in SOURCE.rglob("*.py") if path.parent.name != "api" and "HTTPException" in path.read_text()]
    assert wrong == []


def calls(source: str, method: str) -> bool:
    """Whether `something.method(…)` is called."""
    nodes = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(isinstance(node, ast.Attribute) and node.attr == method for node in nodes)


def test_rules_never_end_the_transaction():
    files = [*SOURCE.glob("*/service.py"), *SOURCE.glob("*/repository.py"), *SOURCE.glob("*/models.py")]
    assert len(files) > 10
    assert [file for file in files for method in ("commit", "rollback") if calls(file.read_text(), method)] == []
    assert calls("async def f(session):\n    await session.commit()\n", "commit")


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_file_pins_everything_with_hashes_and_names_no_registry(lock: Path):
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--?(index-url|extra-index-url|find-links|trusted-host|i|f)\b", text, re.MULTILINE)
    requirements = re.sub(r"\\\n\s*", "", text).splitlines()
    for requirement in filter(None, (line.partition("#")[0].strip() for line in requirements)):
        assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[^\s;*]+", requirement), requirement
        assert "--hash=sha256:" in requirement
    named = set(re.findall(r"^([a-z0-9-]+)(?:\[.*?\])?==", text, re.MULTILINE))
    wanted = re.findall(r"^([A-Za-z0-9][A-Za-z0-9_-]*)", lock.with_suffix(".in").read_text(), re.MULTILINE)
    assert {name.lower().replace("_", "-") for name in wanted} <= named


def test_what_the_package_needs_is_in_the_lock_file():
    named = set(
        re.findall(r"^([a-z0-9-]+)(?:\[.*?\])?==", (ROOT / "requirements" / "app.txt").read_text(), re.MULTILINE)
    )
    wanted = [re.split(r"[\[<>=;~ ]", dependency)[0] for dependency in PROJECT["project"]["dependencies"]]
    assert set(wanted) <= named


def test_make_alone_lists_its_commands():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert {"install", "run", "test", "check", "demo", "migrate", "clean"} <= set(listed)
    assert all(len(explained) > 10 for explained in listed.values())


def test_ci_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"
    planned = subprocess.run(
        ["make", "-n", "-o", ".venv/.dev", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports", "pytest"):
        assert f".venv/bin/{tool}" in planned.stdout


def test_the_wheel_holds_what_runs(tmp_path: Path):
    build = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        held = set(wheel.namelist())
    wanted = {f"health_services/{path.relative_to(SOURCE)}" for path in SOURCE.rglob("*.py")}
    wanted |= {
        f"health_services/{path.relative_to(ROOT)}"
        for path in (ROOT / "migrations").rglob("*.py*")
        if path.suffix != ".pyc"
    }
    assert wanted | {"health_services/py.typed"} <= held
    assert {name.partition("/")[0] for name in held} == {"health_services", "health_services-0.1.0.dist-info"}


def test_nothing_of_an_endpoint_runs_in_a_thread():
    """The framework runs what is not `async` in threads, which takes longer than most of our answers."""

    def called(dependant: Dependant) -> Iterator[Any]:
        yield dependant.call
        for part in dependant.dependencies:
            yield from called(part)

    routers = [*main.ROUTERS, *main.PLAIN_ROUTERS]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    names = [call.__qualname__ for route in routes for call in called(route.dependant) if not iscoroutinefunction(call)]
    assert len(routes) > 90
    assert names == []
