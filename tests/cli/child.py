"""What a forked process does to be a command; imports nothing, so that it starts at once."""

import os
import sys
import types


def become(arguments: tuple[str, ...], environment: dict[str, str], files: tuple[str, str, str], cwd: str) -> None:
    """Be the command: its session, its files, its environment, nothing of the tests'."""
    os.setsid()
    flags = (os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_APPEND)
    for number, (name, flag) in enumerate(zip(files, flags, strict=True)):
        opened = os.open(name, flag)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["health-services", *arguments]
    # Worker processes import their parent's main module; the tests' own is none of theirs.
    sys.modules["__main__"] = types.ModuleType("__main__")
    from health_services.cli import main  # noqa: PLC0415 - in the forked process alone

    main()
