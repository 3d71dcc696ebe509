"""The mails that the ledger holds, sent by a worker's hand into a box, and the links in them."""

import re
from dataclasses import dataclass, field

import asyncpg
from fastapi import FastAPI

from health_services.notifications.carriers import MailCarrier, Voice
from health_services.outgoing.errors import SendingFailed
from health_services.outgoing.mail import Mail
from tests.notifications.ledger import Ledger, vault_of_app

_LINK = re.compile(r"http://localhost:8000/([a-z-]+)#token=([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])")


@dataclass
class Mailbox:
    """A mailer that keeps what it is given, unless it fails."""

    mails: list[Mail] = field(default_factory=list)
    failure: SendingFailed | None = None

    async def send(self, mail: Mail) -> None:
        """Keep it."""
        if self.failure:
            raise self.failure
        self.mails.append(mail)

    async def close(self) -> None:
        """Nothing is open."""


class Post:
    """Sends what is due, and remembers all that it sent."""

    def __init__(self, owner: asyncpg.Connection, app: FastAPI) -> None:
        self.box = Mailbox()
        self.ledger = Ledger(owner, app)
        self._carrier = MailCarrier(self.box, Voice("en", app.state.links), "clinic@example.org", vault_of_app(app))

    async def sent(self) -> list[Mail]:
        """What goes out now."""
        before = len(self.box.mails)
        await self.ledger.send(self._carrier)  # type: ignore[arg-type]
        return self.box.mails[before:]

    async def links(self) -> list[tuple[str, str, str]]:
        """Of each mail that goes out now with a link: to whom, to which page, with which token."""
        return [(mail.to, *link_in(mail)) for mail in await self.sent() if "#token=" in mail.text]

    async def token(self, page: str) -> str:
        """The token of the one link that goes out now."""
        ((_, found, token),) = await self.links()
        assert found == page
        return token


def link_in(mail: Mail) -> tuple[str, str]:
    """The page and the token of the one link of a mail, which is the same in both its bodies."""
    (link,) = set(_LINK.findall(mail.text))
    assert link in _LINK.findall(mail.html)
    return link[0], link[1]
