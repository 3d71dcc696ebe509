"""The operator's commands that send: a worker of its own, and a test mail."""

import asyncio
import secrets
import signal

from health_services.errors import OperatorError
from health_services.installation import Installation, Say, serving_settings
from health_services.lanes import open_worker
from health_services.outgoing.errors import SendingFailed
from health_services.outgoing.mail import Mail, mailer_of, sender_of
from health_services.settings import Settings
from health_services.worker import run_until

GRACE_SECONDS = 30
_TEST = "This is a test of health-services' mail settings. If you read it, they work."


def work(place: Installation, say: Say) -> None:
    """Send messages until a signal ends it."""
    settings = serving_settings(place)

    async def run() -> None:
        role = await place.prepare(say)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with open_worker(settings, role) as worker:
            say("Sending messages as they come due; Ctrl-C stops.")
            await run_until(worker, stopped, GRACE_SECONDS)

    asyncio.run(run())


async def mail_test(settings: Settings, address: str) -> str:
    """Send a test mail; the sentence that says where it went. Raises OperatorError with what went wrong."""
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
        cause = f" ({failure.__cause__})" if failure.__cause__ else ""
        raise OperatorError(f"The test mail was not sent: {failure.reason}{cause}.") from None
    finally:
        await mailer.close()
    if settings.smtp_url is None:
        return f"No mail server is set (HEALTH_SMTP_URL); the mail is a file in {settings.data_dir / 'mail'}."
    return f"The mail server took the test mail from {sender.addr_spec} to {address}."
