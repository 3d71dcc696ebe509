"""The OS user that the embedded server runs as: ourselves, or a system user of its own when we are root."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from health_services.database.processes import RunAs, call
from health_services.errors import OperatorError

SYSTEM_USER = "health-postgres"


@dataclass(frozen=True)
class Account:
    """An OS user; `run_as` is empty when it is the present one."""

    uid: int
    gid: int

    @property
    def run_as(self) -> RunAs:
        """Arguments for `subprocess` to run a program as this user, with no further group."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, directory: Path) -> bool:
        """Whether this user can pass through every directory down to `directory`."""
        resolved = Path(os.path.realpath(directory))
        if self.uid == os.geteuid():
            return os.access(resolved, os.X_OK)
        return all(self._may_pass(step.stat()) for step in (resolved, *resolved.parents))

    def _may_pass(self, step: os.stat_result) -> bool:
        if step.st_uid == self.uid:
            return bool(step.st_mode & stat.S_IXUSR)
        if step.st_gid == self.gid:
            return bool(step.st_mode & stat.S_IXGRP)
        return bool(step.st_mode & stat.S_IXOTH)


def server_account() -> Account:
    """Who runs the server: PostgreSQL refuses to run as root, so root makes a system user for it, once."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    try:
        found = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        found = _create()
    return Account(found.pw_uid, found.pw_gid)


def _create() -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    problem = "useradd is missing"
    if useradd:
        made = call(
            [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
             "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        )  # fmt: skip
        problem = made.stderr.strip()
    try:  # also after a failure: another start may have made it at the same moment
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise OperatorError(
            f"PostgreSQL does not run as root, and its user {SYSTEM_USER} could not be made ({problem}). "
            f"Make a system user {SYSTEM_USER}, or run the command as an ordinary user."
        ) from None
