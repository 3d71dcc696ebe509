"""The dialogue with a mail server: refusals, silence, and connections that are used again."""

import asyncio
import re
import traceback
from contextlib import suppress
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from health_services.outgoing.errors import NotNow, Undeliverable
from health_services.outgoing.smtp import SmtpConnections, SmtpServer
from tests.outgoing.smtp_servers import SENDER, Desk, mail, mailer, refusal, say, scripted_server, smtp_server, until

NO_ANSWER = "the mail server did not answer in time"


async def test_a_mail_arrives_as_it_was_written():
    text = "Grüße\n.\n.hidden\n..\nQUIT\n" + "x" * 3000
    async with smtp_server(Desk()) as desk, mailer(f"smtp://127.0.0.1:{desk.port}") as to_server:
        await to_server.send(mail(text=text))
    (arrived,) = desk.arrived
    assert (arrived.sender, arrived.recipients) == ("no-reply@clinic.example.org", ["jane@example.org"])
    assert not arrived.is_encrypted
    body = message_from_bytes(arrived.content, policy=default).get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines() == text.splitlines()
    assert desk.commands[0] == "EHLO"
    assert b"EHLO clinic.example.org\r\n" in desk.seen


async def test_one_refused_person_does_not_cost_the_others_their_connection():
    desk = Desk(at_recipient={"gone@example.org": "550 5.1.1 gone@example.org: no such user"},
                at_data={"spam@example.org": "554 5.7.1 spam@example.org would not like this"})  # fmt: skip
    async with smtp_server(desk), mailer(f"smtp://127.0.0.1:{desk.port}") as to_server:
        await to_server.send(mail("first@example.org"))
        for to, reason in (("gone", "refused by the mail server (550)"), ("spam", "refused by the mail server (554)")):
            with pytest.raises(Undeliverable) as caught:
                await to_server.send(mail(f"{to}@example.org"))
            assert (caught.value.reason, str(caught.value)) == (reason, reason)
            logged = "".join(traceback.format_exception(caught.value))
            assert not re.search("no such user|would not like|5.7.1|5.1.1", logged)
        await to_server.send(mail("last@example.org"))
    assert [arrived.recipients for arrived in desk.arrived] == [["first@example.org"], ["last@example.org"]]
    assert desk.connections == 1


@pytest.mark.parametrize(("told", "reason"), [
    ({"at_recipient": {"jane@example.org": "451 try later"}}, "put off by the mail server (451)"),
    ({"at_recipient": {"jane@example.org": "421 going down"}}, "put off by the mail server (421)"),
    ({"at_data": {"jane@example.org": "452 disk full"}}, "put off by the mail server (452)"),
    ({"at_mail": {1: "550 who are you"}}, "the mail server refused the sender (550)"),
    ({"at_mail": {1: "nonsense"}}, "put off by the mail server"),
])  # fmt: skip
async def test_what_may_be_better_later(told: dict[str, Any], reason: str):
    async with smtp_server(Desk(**told)) as desk:
        url = f"smtp://127.0.0.1:{desk.port}"
        assert await refusal(url) == reason
        assert desk.arrived == []
        desk.at_recipient, desk.at_data, desk.at_mail = {}, {}, {}
        async with mailer(url) as to_server:
            await to_server.send(mail())
    assert [arrived.recipients for arrived in desk.arrived] == [["jane@example.org"]]


async def test_nobody_there():
    async with smtp_server(Desk()) as desk:
        pass
    assert await refusal(f"smtp://127.0.0.1:{desk.port}") == "the mail server cannot be reached"
    assert await refusal(f"smtp://{'a' * 64}.example.org") == "the mail server cannot be reached"


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await say(writer, "220 mail.test")
    for answer in ("250 mail.test", "250 ok", "250 ok", "354 go on"):
        await reader.readline()
        await say(writer, answer)


async def refuse_everybody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await say(writer, "554 not for you")
    await reader.read()


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0)


async def close_after_sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await say(writer, "220 mail.test")
    await reader.readline()
    await say(writer, "250 mail.test")
    await reader.readline()


async def close_in_data(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await accept(reader, writer)
    await reader.readline()


@pytest.mark.parametrize(("dialogue", "reason"), [
    (close_at_once, "the mail server cannot be reached"), (close_after_sender, "the mail server hung up"),
    (close_in_data, "the mail server hung up"), (refuse_everybody, "put off by the mail server (554)"),
])  # fmt: skip
async def test_a_server_that_closes_in_the_middle(dialogue: Any, reason: str):
    async with scripted_server(dialogue) as port:
        assert await refusal(f"smtp://127.0.0.1:{port}") == reason


async def test_a_server_that_says_nothing():
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with scripted_server(stay_silent) as port, mailer(f"smtp://127.0.0.1:{port}", timeout=0.2) as to_server:
        with pytest.raises(NotNow, match=NO_ANSWER):
            await to_server.send(mail())


async def test_a_server_that_does_not_answer_the_message():
    async with smtp_server(Desk(stops_after_data=True)) as desk:
        async with mailer(f"smtp://127.0.0.1:{desk.port}", timeout=0.5) as to_server:
            while not desk.is_in_data:  # a busy machine may not come that far in time
                with pytest.raises(NotNow, match=NO_ANSWER):
                    await to_server.send(mail())
        await until(lambda: desk.open == 0)
    assert desk.arrived == []


async def test_a_connection_that_was_given_up_is_not_used_again():
    async with (
        smtp_server(Desk(stops_after_data=True)) as desk,
        mailer(f"smtp://127.0.0.1:{desk.port}", connections=1) as to_server,
    ):
        given_up = asyncio.create_task(to_server.send(mail("first@example.org")))
        await until(lambda: desk.is_in_data)
        given_up.cancel()
        desk.stops_after_data = False
        await to_server.send(mail("next@example.org"))
        await asyncio.wait([given_up])
    assert given_up.cancelled()
    assert [arrived.recipients for arrived in desk.arrived] == [["next@example.org"]]
    assert desk.connections == 2


async def test_what_was_given_up_is_not_sent_behind_our_back():
    read, is_in_data, gave_up, has_ended = bytearray(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accept(reader, writer)
        read.extend(await reader.readexactly(1))
        is_in_data.set()
        await gave_up.wait()
        with suppress(ConnectionError):
            while data := await reader.read(2**20):
                read.extend(data)
        has_ended.set()

    async with scripted_server(dawdle) as port:
        server = SmtpServer.at(f"smtp://127.0.0.1:{port}")
        connections = SmtpConnections(server, SENDER.addr_spec, connections=1, timeout=60)
        sending = asyncio.create_task(connections.send("jane@example.org", b"x" * 2**25))
        await is_in_data.wait()
        sending.cancel()
        await asyncio.wait([sending])
        gave_up.set()
        await has_ended.wait()
    assert sending.cancelled()
    assert len(read) < 2**25


async def test_one_connection_for_many_messages():
    async with smtp_server(Desk()) as desk, mailer(f"smtp://127.0.0.1:{desk.port}") as to_server:
        for number in range(10):
            await to_server.send(mail(f"person{number}@example.org"))
    assert [arrived.recipients[0] for arrived in desk.arrived] == [f"person{n}@example.org" for n in range(10)]
    assert desk.connections == 1
    assert desk.commands[-1] == "QUIT"


async def test_no_more_connections_than_allowed():
    people = [f"person{number}@example.org" for number in range(30)]
    async with smtp_server(Desk()) as desk, mailer(f"smtp://127.0.0.1:{desk.port}", connections=3) as to_server:
        await asyncio.gather(*(to_server.send(mail(person)) for person in people))
    assert sorted(arrived.recipients[0] for arrived in desk.arrived) == sorted(people)
    assert desk.connections == desk.most_open == 3


@pytest.mark.parametrize("told", [{"hangs_up_after_mail": True}, {"at_mail": {2: "421 enough for today"}}])
async def test_a_kept_connection_that_has_grown_old_is_replaced(told: dict[str, Any]):
    async with smtp_server(Desk(**told)) as desk, mailer(f"smtp://127.0.0.1:{desk.port}") as to_server:
        for number in range(3):
            await to_server.send(mail(f"person{number}@example.org"))
    assert [arrived.recipients[0] for arrived in desk.arrived] == [f"person{n}@example.org" for n in range(3)]
    assert desk.connections == 3


async def test_an_idle_connection_is_left_in_good_order():
    async with smtp_server(Desk()) as desk:
        server = SmtpServer.at(f"smtp://127.0.0.1:{desk.port}")
        connections = SmtpConnections(server, SENDER.addr_spec, connections=1, timeout=60, idle=0.01)
        await connections.send("jane@example.org", b"Subject: x\r\n\r\nx\r\n")
        await until(lambda: desk.open == 0)
        assert desk.commands[-1] == "QUIT"
        await connections.send("john@example.org", b"Subject: x\r\n\r\nx\r\n")
        await connections.close()
    assert [arrived.recipients for arrived in desk.arrived] == [["jane@example.org"], ["john@example.org"]]
