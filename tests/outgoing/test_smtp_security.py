"""Encryption, certificates and logins on the way to a mail server."""

import socket
from pathlib import Path

import pytest

from health_services.outgoing.smtp import SmtpServer
from tests.outgoing.smtp_servers import Certificate, Desk, certificate, mail, mailer, refusal, smtp_server

IN_THE_CLEAR = "the mail server offers no STARTTLS, and the login would be sent in the clear"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1", "mail.example.org")


@pytest.fixture
def everywhere_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host name is this machine's."""
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: real("127.0.0.1", *more, **named))


async def test_starttls_is_used_where_it_is_offered_whatever_the_certificate(trusted: Certificate):
    async with (
        smtp_server(Desk(), starttls=trusted.server) as desk,
        mailer(f"smtp://127.0.0.1:{desk.port}") as to_server,
    ):
        await to_server.send(mail())
    assert [arrived.is_encrypted for arrived in desk.arrived] == [True]


async def test_required_starttls_that_is_not_offered():
    async with smtp_server(Desk()) as desk:
        reason = await refusal(f"smtp+starttls://someone:secret@127.0.0.1:{desk.port}")
    assert reason == "the mail server offers no STARTTLS"
    assert desk.commands == ["EHLO"]


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
async def test_required_encryption_with_a_trusted_certificate(scheme: str, trusted: Certificate):
    kind = {"smtps": "tls", "smtp+starttls": "starttls"}[scheme]
    async with (
        smtp_server(Desk(), **{kind: trusted.server}) as desk,
        mailer(f"{scheme}://localhost:{desk.port}", context=trusted.client) as to_server,
    ):
        await to_server.send(mail())
    assert [arrived.is_encrypted for arrived in desk.arrived] == [True]


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
async def test_required_encryption_with_a_certificate_that_is_not_trusted(
    scheme: str, trusted: Certificate, tmp_path: Path
):
    kind = {"smtps": "tls", "smtp+starttls": "starttls"}[scheme]
    elsewhere = certificate(tmp_path, "elsewhere.example.org")
    async with smtp_server(Desk(), **{kind: trusted.server}) as desk:
        unknown = await refusal(f"{scheme}://someone:secret@localhost:{desk.port}")
    async with smtp_server(Desk(), **{kind: elsewhere.server}) as other:
        misnamed = await refusal(f"{scheme}://someone:secret@localhost:{other.port}", context=elsewhere.client)
    assert unknown == misnamed == "the certificate of the mail server is not trusted"
    assert not {"AUTH", "MAIL"} & {*desk.commands, *other.commands}


async def test_tls_with_a_server_that_speaks_none():
    async with smtp_server(Desk()) as desk:
        assert await refusal(f"smtps://127.0.0.1:{desk.port}") == "no TLS with the mail server"


async def test_login_with_what_the_url_says():
    desk = Desk(accounts={"clinic@example.org": "p:a/s%s w@rd"})
    async with smtp_server(desk), mailer(
        f"smtp://clinic%40example.org:p%3Aa%2Fs%25s%20w%40rd@127.0.0.1:{desk.port}"
    ) as to_server:  # fmt: skip
        await to_server.send(mail())
    assert [arrived.login for arrived in desk.arrived] == ["clinic@example.org"]


async def test_a_login_that_fails_is_tried_again_later():
    async with smtp_server(Desk(accounts={"clinic": "right"})) as desk:
        assert await refusal(f"smtp://clinic:wrong@127.0.0.1:{desk.port}") == "the mail server refused the login (535)"
    async with smtp_server(Desk()) as without:
        reason = await refusal(f"smtp://clinic:right@127.0.0.1:{without.port}")
    assert reason == "the mail server offers no login that we know"
    assert not [*desk.arrived, *without.arrived]


@pytest.mark.usefixtures("everywhere_is_here")
async def test_a_login_is_not_sent_in_the_clear_to_another_machine(trusted: Certificate):
    accounts = {"clinic": "secret"}
    async with smtp_server(Desk(accounts=accounts)) as desk:
        assert await refusal(f"smtp://clinic:secret@mail.example.org:{desk.port}") == IN_THE_CLEAR
    assert desk.commands == ["EHLO"]
    async with smtp_server(Desk(accounts=accounts), starttls=trusted.server) as encrypted:
        url = f"smtp://clinic:secret@mail.example.org:{encrypted.port}"
        # whoever stands in between could offer encryption too, with a certificate of his own
        assert await refusal(url) == "the certificate of the mail server is not trusted"
        assert encrypted.arrived == []
        async with mailer(url, context=trusted.client) as to_server:
            await to_server.send(mail())
    assert [(arrived.login, arrived.is_encrypted) for arrived in encrypted.arrived] == [("clinic", True)]


@pytest.mark.parametrize(("host", "is_loopback"), [
    ("localhost", True), ("mail.localhost", True), ("127.0.0.1", True), ("127.8.9.10", True), ("[::1]", True),
    ("mail.example.org", False), ("10.0.0.1", False), ("localhost.example.org", False), ("notlocalhost", False),
    ("127.0.0.1.example.org", False), ("[fe80::1]", False), ("0.0.0.0", False),
])  # fmt: skip
def test_which_hosts_are_this_machine(host: str, is_loopback: bool):
    assert SmtpServer.at(f"smtp://{host}").is_loopback is is_loopback


def test_urls():
    servers = [SmtpServer.at(url) for url in ("smtp://a", "smtp+starttls://a", "smtps://a", "smtps://u%2Bv@a:2465")]
    assert [server.port for server in servers] == [25, 587, 465, 2465]
    assert [(server.user, server.password) for server in servers] == [(None, "")] * 3 + [("u+v", "")]
    assert "u+v" not in repr(servers[3])
    for url in ("http://a", "smtp://", "a:25", ""):
        with pytest.raises(ValueError, match="not the URL"):
            SmtpServer.at(url)
