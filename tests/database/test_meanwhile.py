"""What a command does while the embedded server starts."""

from pathlib import Path

import pytest

from health_services.database.embedded import running


def quiet(_: str) -> None:
    """Say nothing."""


def test_what_is_done_meanwhile_is_done_once_and_only_while_it_starts(directory: Path) -> None:
    done: list[bool] = []

    def work() -> None:
        done.append((directory / "data" / "postgres" / "data").exists())

    with running(directory / "data", say=quiet, meanwhile=work):
        assert done == [True]
        with running(directory / "data", say=quiet, meanwhile=work):
            assert done == [True]


def test_a_start_that_fails_meanwhile_leaves_no_server(directory: Path) -> None:
    def fail() -> None:
        raise ImportError("meanwhile")

    with pytest.raises(ImportError, match="meanwhile"), running(directory / "data", say=quiet, meanwhile=fail):
        pass
    with running(directory / "data", say=quiet) as cluster:
        assert cluster.pgdata.exists()
