"""The README's commands and first request, and the manual's SQL and shell, run as they are written."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from health_services.database.embedded import Cluster
from tests.cli.commands import eventually
from tests.cli.conftest import external, foreign  # noqa: F401 - fixtures
from tests.database.conftest import make_open_directory
from tests.database.servers import sql
from tests.servers import named

ROOT = Path(__file__).parents[1]
CLEAN = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
# Cheap passwords only; everything else is as a stranger finds it.
CHEAP = {"HEALTH_PASSWORD_MEMORY_KIB": "19456", "HEALTH_PASSWORD_TIME_COST": "2"}
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page in this language, from top to bottom."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def install(clone: Path) -> None:
    """What `make install` leaves, with the packages that are installed already: `make test` has just proved the rest.

    Their directory is named in a .pth file, which does not read the .pth files in there: the source is the clone's.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    binaries = clone / ".venv" / "bin"
    site = next((clone / ".venv" / "lib").glob("python3*")) / "site-packages"
    (site / "all.pth").write_text(f"{clone / 'src'}\n{sysconfig.get_paths()['purelib']}\n")
    script = f"#!{binaries / 'python'}\nfrom health_services.cli import main\n"
    # Worker processes import what their parent was started with.
    script += 'if __name__ == "__main__":\n    raise SystemExit(main())\n'
    (binaries / "health-services").write_text(script)
    (binaries / "health-services").chmod(0o755)
    for mark in (".uv", ".app"):
        (clone / ".venv" / mark).touch()


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """The files of the working tree that belong to the project, in a directory of their own."""
    made = make_open_directory()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, made / name)
    install(made)
    yield made
    shutil.rmtree(made)


def start(command: list[str], log: Path, environment: dict[str, str], clone: Path) -> subprocess.Popen[bytes]:
    """A server in a session of its own, once it says that it is ready."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=clone, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    if not eventually(lambda: process.poll() is not None or "Ready on http" in log.read_text(), 120):
        interrupt(process)
    assert process.poll() is None, log.read_text()
    return process


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, which a terminal tells every process of the foreground."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def bash(script: str, environment: dict[str, str], clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-eu", "-c", script], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


def test_the_first_request_works_as_written(clone: Path):
    commands, request = blocks("README.md", "sh")
    run_command = commands.splitlines()[0].partition("#")[0].split()
    assert run_command == ["make", "run"]
    assert "make run PORT=8080" in (ROOT / "README.md").read_text()
    port = free_port()  # 8000 may be taken here: the port is all that is not as written
    assert request.count(":8000/") == 1
    process = start([*run_command, f"PORT={port}"], clone / "run.log", CLEAN | CHEAP, clone)
    try:
        script = request.replace(":8000/", f":{port}/")
        book = script[script.index("curl -s $api/appointments/book") :]
        done = bash(f"{script}\necho; echo again; {book}", CLEAN | CHEAP, clone)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("demo.patient@example.org") == 1
        first, _, again = done.stdout.partition("\nagain\n")
        answer = first.strip().splitlines()[-1]
        assert '"status":"pending"' in answer
        assert json.loads(answer)["reason_for_visit"] == "Regular checkup"
        assert again == answer
    finally:
        interrupt(process)
    assert not (clone / "var" / "postgres" / "data" / "postmaster.pid").exists()
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there any more


def test_a_server_of_ones_own_works_as_written(clone: Path, foreign: Cluster):  # noqa: F811
    page = (ROOT / "docs" / "operations.md").read_text()
    assert page.index("## On your own PostgreSQL") < page.index("```sql")
    (statements,) = blocks("docs/operations.md", "sql")
    shell = next(block for block in blocks("docs/operations.md", "sh") if "DATABASE_URL=" in block)
    assert (statements.count("…"), shell.count("…"), shell.count("@db.example.org/")) == (2, 2, 2)
    # Theirs are the host and the passwords; the statements are sent one by one, as psql does.
    for statement in statements.replace("…", "a-word").splitlines():
        sql(foreign.admin_url, statement, foreign.bin_dir)
    host = parse_qs(urlsplit(foreign.admin_url).query)["host"][0].replace("/", "%2F")
    # This one is on the same machine, and is built without TLS.
    assert shell.count("?$tls") == 2
    shell = shell.replace("…", "a-word").replace("@db.example.org/", f"@{host}:5432/").replace("?$tls", "")
    exports, command = shell.rstrip().rsplit("\n", 1)
    port = free_port()
    script = f"{exports}\nexec {command} --port {port}"
    process = start(["bash", "-euc", script], clone / "own.log", CLEAN | CHEAP, clone)
    try:
        assert "more rights" not in (clone / "own.log").read_text()
        ready = bash(f"curl -sf --max-time 60 http://127.0.0.1:{port}/readyz", CLEAN, clone)
        assert ready.returncode == 0, ready.stdout
        url = named(foreign.admin_url, "health")
        assert sql(url, "SELECT tableowner FROM pg_tables WHERE tablename = 'users'", foreign.bin_dir) == "health_owner"
        logins = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'health' AND usename <> 'postgres'"
        assert sql(url, logins, foreign.bin_dir) == "health"
    finally:
        interrupt(process)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "mailto:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"
