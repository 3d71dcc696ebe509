import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from health_services.database import places
from health_services.database.embedded import Cluster, running


def make_open_directory() -> Path:
    """Unlike tmp_path, every user may pass through it: root's server would else go to /var/lib."""
    directory = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    directory.chmod(0o755)
    return directory


@pytest.fixture
def directory() -> Iterator[Path]:
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    made = make_open_directory()
    with running(made / "data", say=lambda _: None) as cluster:
        yield cluster
    shutil.rmtree(made)


@pytest.fixture
def system_root(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(places, "SYSTEM_ROOT", directory / "lib")
    return directory / "lib"
