"""Running a program to its end, with nothing of ours but what it is given."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import TypedDict

# No setting of the operator's own PostgreSQL clients may reach ours; messages are parsed, so in English.
CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class RunAs(TypedDict, total=False):
    """The part of `subprocess.Popen`'s arguments that changes the user."""

    user: int
    group: int
    extra_groups: list[int]


def call(
    command: Sequence[object],
    *,
    environment: Mapping[str, str] = CLEAN_ENVIRONMENT,
    stdin: str = "",
    run_as: RunAs | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """The ended program with its output; in a session of its own, so that Ctrl-C is ours to answer."""
    return subprocess.run(  # noqa: S603 - a list of arguments that we made, and no shell
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        env=environment,
        umask=0o077,
        start_new_session=True,
        pass_fds=pass_fds,
        **(run_as or {}),
    )
