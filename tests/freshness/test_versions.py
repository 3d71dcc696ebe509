"""Versions in shared memory: a change is seen in every process, and nothing else looks changed."""

import multiprocessing
from pathlib import Path

import pytest

from health_services.errors import OperatorError
from health_services.freshness.versions import DIRECTORY, Versions, of_slot, slots_of_doctor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "versions"


def opened(path: Path) -> Versions:
    versions = Versions(path)
    versions.open()
    return versions


def change(path: Path, *names: str) -> None:
    opened(path).change(names)


def test_what_another_process_changes_is_seen(path: Path):
    versions = opened(path)
    doctor, directory = versions.places([slots_of_doctor(7)]), versions.places([DIRECTORY])
    before = versions.now(doctor), versions.now(directory)
    process = multiprocessing.get_context("spawn").Process(target=change, args=(path, slots_of_doctor(7)))
    process.start()
    process.join()
    assert versions.now(doctor) != before[0]
    assert versions.now(directory) == before[1]


def test_a_version_never_comes_again(path: Path):
    """Two processes that count alike still write different values, and so does one that is started again."""
    seen = set()
    for _ in range(5):
        one, other = opened(path), opened(path)
        places = one.places([DIRECTORY])
        for versions in (one, other, one, other):
            versions.change([DIRECTORY])
            assert one.now(places) not in seen
            seen.add(one.now(places))


def test_a_slot_is_its_doctors_and_its_clinics(path: Path):
    versions = opened(path)
    named = [versions.places([name]) for name in of_slot(1, 2, 3)]
    before = [versions.now(places) for places in named]
    versions.change(of_slot(1, 2, 3))
    assert len(set(named)) == 4
    assert all(versions.now(places) != old for places, old in zip(named, before, strict=True))


def test_the_file_is_nobody_elses(path: Path):
    opened(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_had_is_named(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "versions").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperatorError, match="HEALTH_KEEP_SECONDS=0"):
        opened(tmp_path / "versions")
    assert (tmp_path / "elsewhere").read_text() == ""


def test_where_nothing_is_kept_a_change_is_told_to_nobody(path: Path):
    Versions(path).change([DIRECTORY])
    assert not path.exists()
