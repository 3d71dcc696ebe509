"""The operator's commands that send: a worker of its own, and a test mail."""

import asyncio
import secrets
import signal

from health_services.errors import OperatorError
from health_services.installation import STOPPING, Installation, Say, end_at_once, serving_settings
from health_services.lanes import open_worker
from health_services.main import WORKER_GRACE_SECONDS
from health_services.outgoing.errors import SendingFailed
from health_services.outgoing.mail import Mail, mailer_of, sender_of
from health_services.outgoing.smtp import SmtpServer, words_about
from health_services.settings import Settings
from health_services.worker import run_until

_TEST = "This is a test of health-services' mail settings. If you read it, they work."


def work(place: Installation, say: Say) -> None:
    """Send messages until a signal ends it; Ctrl-C after that ends it at once."""
    settings = serving_settings(place)

    async def run() -> None:
        role = await place.prepare(say)
        await place.insist_on_schema(role)
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            say(STOPPING)
            stopped.set()
            loop.add_signal_handler(signal.SIGINT, end_at_once)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        async with open_worker(settings, role) as worker:
            say("Sending messages as they come due; Ctrl-C stops.")
            await run_until(worker, stopped, WORKER_GRACE_SECONDS)

    asyncio.run(run())


async def mail_test(settings: Settings, address: str) -> str:
    """Send a test mail; the sentence that says where it went.

    Raises OperatorError with what went wrong, in the mail server's own words too.
    """
    mailer = mailer_of(settings)
    sender = sender_of(settings)
    mail = Mail(
        to=address,
        subject="Test of the mail settings",
        text=_TEST,
        html=f"<!doctype html><html lang='en'><body><p>{_TEST}</p></body></html>",
        message_id=f"test.{secrets.token_hex(12)}@{sender.domain}",
        language="en",
    )
    try:
        await mailer.send(mail)
    except SendingFailed as failure:
        said = words_about(failure)
        reason = f"{failure.reason}: {said}" if said else failure.reason
        raise OperatorError(f"The test mail was not sent{_to_server(settings)}: {reason}.") from None
    finally:
        await mailer.close()
    if settings.smtp_url is None:
        return f"No mail server is set (HEALTH_SMTP_URL); the mail is a file in {settings.data_dir / 'mail'}."
    return f"The mail server took the test mail from {sender.addr_spec} to {address}."


def _to_server(settings: Settings) -> str:
    if settings.smtp_url is None:
        return ""
    server = SmtpServer.at(settings.smtp_url.get_secret_value())
    return f" ({server.host}, port {server.port})"
