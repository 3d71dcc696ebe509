"""The keys of encrypted columns in their file: made once, rotated under running processes, refused where off."""

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from health_services.database.key_file import KeyFile, vault_for
from health_services.database.sealing import Vault, key_of
from health_services.errors import OperatorError, UnavailableException
from health_services.settings import Settings

PLACE = ("patients", "allergies", 7)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def file_vault(directory: Path) -> Vault:
    return vault_for(Settings(data_dir=directory))


def test_keys_are_made_once_for_their_owner_alone(tmp_path: Path):
    KeyFile(tmp_path).make(NOW)
    file = tmp_path / "encryption_keys"
    made = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    ((name, key),) = json.loads(made).items()
    assert name.startswith("20260301-")
    assert len(base64.urlsafe_b64decode(key + "=")) == 32
    KeyFile(tmp_path).make(NOW)
    assert file.read_text() == made
    assert [path.name for path in tmp_path.iterdir()] == ["encryption_keys"]


def test_a_running_process_sees_a_rotation(tmp_path: Path):
    KeyFile(tmp_path).make(NOW)
    running, writing = file_vault(tmp_path), file_vault(tmp_path)
    before, _ = (each.seal(*PLACE, "Penicillin") for each in (running, writing))
    new = KeyFile(tmp_path).begin_rotation(NOW)
    by_another = file_vault(tmp_path).seal(*PLACE, "Latex")
    assert key_of(by_another) == new != key_of(before)
    assert [running.open(*PLACE, sealed) for sealed in (by_another, before)] == ["Latex", "Penicillin"]
    assert key_of(writing.seal(*PLACE, "Penicillin")) == new


def test_a_rotation_that_was_broken_off_goes_on_with_its_key(tmp_path: Path):
    file = KeyFile(tmp_path)
    file.make(NOW)
    first = file.begin_rotation(NOW)
    assert KeyFile(tmp_path).begin_rotation(NOW) == first
    file.end_rotation()
    second = file.begin_rotation(NOW)
    assert second != first
    ids = list(json.loads((tmp_path / "encryption_keys").read_text()))
    assert ids[:2] == [second, first]
    assert len(ids) == 3


def test_a_rotation_that_ended_before_its_key_was_written_makes_another(tmp_path: Path):
    file = KeyFile(tmp_path)
    file.make(NOW)
    (tmp_path / "encryption_keys.rotating").write_text("20260301-000000")
    assert file.begin_rotation(NOW) != "20260301-000000"
    assert len(json.loads((tmp_path / "encryption_keys").read_text())) == 2


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '"x"', '{"a": "short"}', '{"a": 1}', '{"a b": "' + "A" * 43 + '"}', b"\xff"]
)
def test_a_file_that_is_no_ring_is_refused(text: str | bytes, tmp_path: Path):
    file = tmp_path / "encryption_keys"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o600)
    with pytest.raises(OperatorError, match="is no key ring; restore it from your backup"):
        KeyFile(tmp_path).make(NOW)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path):
    KeyFile(tmp_path).make(NOW)
    (tmp_path / "encryption_keys").chmod(0o640)
    with pytest.raises(OperatorError, match="which nobody else can read"):
        KeyFile(tmp_path).current()


def test_a_running_process_without_its_file_seals_nothing(tmp_path: Path):
    KeyFile(tmp_path).make(NOW)
    running = file_vault(tmp_path)
    sealed = running.seal(*PLACE, "Penicillin")
    (tmp_path / "encryption_keys").unlink()
    with capture_logs() as logs, pytest.raises(UnavailableException):
        running.seal(*PLACE, "Penicillin")
    assert [log["event"] for log in logs] == ["the encryption keys cannot be read"]
    assert running.open(*PLACE, sealed) == "Penicillin"
    with pytest.raises(OperatorError, match="cannot be kept in"):
        file_vault(tmp_path).prepare()
    with capture_logs(), pytest.raises(UnavailableException):
        file_vault(tmp_path).open(*PLACE, sealed)


def test_keys_of_the_settings_leave_the_data_directory_alone(tmp_path: Path):
    keys = {"new": SecretStr(base64.urlsafe_b64encode(os.urandom(32)).decode())}
    made = vault_for(Settings(data_dir=tmp_path, encryption_keys=keys))
    assert key_of(made.seal(*PLACE, "Penicillin")) == "new"
    assert list(tmp_path.iterdir()) == []
