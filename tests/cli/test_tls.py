"""Serving by TLS: 1.2 or newer, with one process or several; files that do not do are told in a sentence."""

import shutil
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from health_services.serving import at_address
from health_services.settings import Settings
from tests.certificates import Authority
from tests.cli.commands import Command, run, stop
from tests.database.conftest import make_open_directory

STRICT = "max-age=31536000; includeSubDomains"


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    """A directory for certificates, which ends with these tests."""
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def authority(files: Path) -> Authority:
    return Authority(files)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def port(request: pytest.FixtureRequest, authority: Authority, data_dir: Path) -> Iterator[int]:
    """Where a server with a certificate for localhost serves."""
    chain, key = authority.sign("localhost")
    tls = ("--tls-cert", str(chain), "--tls-key", str(key))
    command = Command("serve", "--port", "0", "--workers", str(request.param), *tls, HEALTH_DATA_DIR=data_dir)
    yield command.port("https")
    stop(command)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.certificate)


def test_who_trusts_the_authority_is_answered_and_bound_to_tls(port: int, authority: Authority):
    with httpx.Client(verify=trusting(authority), base_url=f"https://localhost:{port}") as client:
        for path, status in (("/healthz", 200), ("/api/v1/clinics", 200), ("/nothing", 404)):
            answer = client.get(path)
            assert (answer.status_code, answer.http_version) == (status, "HTTP/1.1")
            assert answer.headers.get_list("strict-transport-security") == [STRICT]


def test_who_does_not_trust_it_is_not(port: int):
    with httpx.Client() as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.get(f"https://localhost:{port}/healthz")


def test_without_tls_nothing_is_answered(port: int):
    with httpx.Client() as client, pytest.raises(httpx.RemoteProtocolError):
        client.get(f"http://localhost:{port}/healthz")


@pytest.mark.parametrize("version", ["TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_nothing_older_than_tls_1_2(port: int, authority: Authority, version: str):
    context = trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", port)) as plain:
        if version == "TLSv1_1":
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(plain, server_hostname="localhost")
            return
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            assert (secured.version() or "").replace(".", "_") == version


def test_links_lead_to_where_it_serves():
    for scheme in ("http", "https"):
        assert at_address(Settings(), "127.0.0.1", 8000, scheme).public_url == f"{scheme}://localhost:8000"


def test_plain_http_says_nothing_of_tls(served: tuple[Command, httpx.Client]):
    answer = served[1].get("/clinics", headers={"X-Forwarded-Proto": "https"})
    assert answer.status_code == 200
    assert "strict-transport-security" not in answer.headers


def test_files_that_do_not_do_stop_the_start(authority: Authority, files: Path):
    chain, key = authority.sign("one.example.org")
    _, other = authority.sign("other.example.org")
    _, locked = authority.sign("locked.example.org", passphrase=b"a passphrase")
    text = files / "text"
    text.write_text("no certificate")
    cases = {
        ("--tls-cert", chain): "--tls-cert and --tls-key belong together: give both, or neither.",
        ("--tls-key", key): "--tls-cert and --tls-key belong together: give both, or neither.",
        ("--tls-cert", files / "none", "--tls-key", key): "none cannot be read: No such file or directory.",
        ("--tls-cert", chain, "--tls-key", files): "cannot be read: Is a directory.",
        ("--tls-cert", chain, "--tls-key", other): f"The key in {other} is not that of the certificate in {chain}.",
        ("--tls-cert", text, "--tls-key", key): "without a passphrase, both as PEM.",
        ("--tls-cert", chain, "--tls-key", text): "without a passphrase, both as PEM.",
        ("--tls-cert", key, "--tls-key", chain): "without a passphrase, both as PEM.",
        ("--tls-cert", chain, "--tls-key", locked): "without a passphrase, both as PEM.",
    }
    for arguments, sentence in cases.items():
        refused = run("serve", "--port", "0", *map(str, arguments), HEALTH_DATA_DIR=files / "data")
        assert refused.refusal.endswith(sentence), arguments
    assert not (files / "data").exists()
