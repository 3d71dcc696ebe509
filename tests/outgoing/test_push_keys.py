"""The key that push services know us by: given, or made once and kept for nobody else."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from health_services.errors import OperatorError
from health_services.outgoing import push_keys
from health_services.outgoing.push import push_gateway_of
from health_services.outgoing.push_keys import KEY_FILE
from health_services.settings import Settings
from tests.outgoing.test_push import ONE, base64url, from_base64url


def key_of(directory: Path) -> str:
    return push_gateway_of(Settings(data_dir=directory)).public_key


def test_the_key_of_the_settings(tmp_path: Path):
    public = ec.derive_private_key(1, ec.SECP256R1()).public_key()
    point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    for text in (ONE, ONE + "=", f" {ONE}\n"):
        settings = Settings(data_dir=tmp_path, vapid_private_key=SecretStr(text))
        assert push_gateway_of(settings).public_key == base64url(point)
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path):
    directory = tmp_path / "new" / "data"
    first = key_of(directory)
    assert key_of(directory) == first
    assert [file.name for file in directory.iterdir()] == [KEY_FILE]
    assert (directory / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert key_of(tmp_path / "another") != first
    assert len(from_base64url(first)) == 65
    assert from_base64url(first)[0] == 4


def test_processes_that_start_together_have_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each finds no key and makes one; only one of them is kept."""
    made: list[int] = []
    make = push_keys._new_key

    def make_late() -> str:
        made.append(1)
        if len(made) == 1:
            others.append(key_of(tmp_path))  # somebody else, just before us
        return make()

    monkeypatch.setattr(push_keys, "_new_key", make_late)
    others: list[str] = []
    key = key_of(tmp_path)
    assert len(made) == 2
    assert others == [key]
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(key_of, [tmp_path / "together"] * 8))) == 1
    assert [file.name for file in (tmp_path / "together").iterdir()] == [KEY_FILE]


def linked(path: Path) -> None:
    path.with_name("elsewhere").write_text(ONE)
    path.with_name("elsewhere").chmod(0o600)
    path.symlink_to("elsewhere")


def written(text: str, mode: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text.encode("latin-1"))
        path.chmod(mode)

    return write


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (written(ONE, 0o644), "which nobody else can read"),
        (written(ONE, 0o660), "which nobody else can read"),
        (linked, "which nobody else can read"),
        (lambda path: path.symlink_to("nowhere"), "which nobody else can read"),
        (lambda path: path.mkdir(0o700), "which nobody else can read"),
        (written("", 0o600), "is no P-256 key"),
        (written(ONE[:-2], 0o600), "is no P-256 key"),
        (written("\xff" * 43, 0o600), "is no P-256 key"),
    ],
)
def test_a_key_that_somebody_else_may_have_put_there(plant: Callable[[Path], None], reason: str, tmp_path: Path):
    path = tmp_path / KEY_FILE
    plant(path)
    with pytest.raises(OperatorError, match=reason) as caught:
        key_of(tmp_path)
    assert str(path) in str(caught.value)
    written(ONE, 0o600)(tmp_path / "good")
    path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "good").rename(path)
    assert key_of(tmp_path)


def test_a_directory_that_cannot_keep_it(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="HEALTH_VAPID_PRIVATE_KEY"):
        key_of(tmp_path / "file")
