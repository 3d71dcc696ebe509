"""What attacks share: the operations of the application, and what a refusal may not tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from health_services.access.permissions import Rule
from health_services.main import access_rules
from health_services.notifications.carriers import Voice
from health_services.notifications.models import Channel
from tests.access.cast import Cast
from tests.api.answers import MEMBERS
from tests.factories import Person
from tests.notifications.ledger import Ledger
from tests.notifications.test_secrecy import CARRIERS, Gateways

REFUSED = {401, 403, 404, 405}


@dataclass(frozen=True)
class Operation:
    """One operation of the document; `rule` is None outside the API."""

    method: str
    path: str
    rule: Rule | None
    described: dict[str, Any]

    def parameters(self, place: str) -> list[str]:
        """The names of its parameters in the `path` or the `query`."""
        return [found["name"] for found in self.described.get("parameters", []) if found["in"] == place]

    def url(self, ids: dict[str, Any]) -> str:
        """Its address; what is not among the ids is 1."""
        return "http://test" + self.path.format(**dict.fromkeys(self.parameters("path"), 1) | ids)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations(app: FastAPI) -> Iterator[Operation]:
    """Every operation of the application."""
    rules = access_rules()
    for path, methods in app.openapi()["paths"].items():
        for method, described in methods.items():
            yield Operation(method.upper(), path, rules.get(described["operationId"]), described)


def assert_tells_nothing(answer: httpx.Response, cast: Cast) -> None:
    """A refusal: a problem with the contract's members, and nothing of anybody in it."""
    assert answer.status_code in REFUSED, f"{answer.request.method} {answer.request.url}: {answer.status_code}"
    assert set(answer.json()) <= MEMBERS | {"errors"}
    for person in vars(cast).values():
        if isinstance(person, Person):
            assert person.email not in answer.text
    assert "Person " not in answer.text


async def mails(app: FastAPI, ledger: Ledger) -> list[str]:
    """All that is said by each mail that is due, which is sent now."""
    gateways = Gateways()
    carrier = CARRIERS[Channel.EMAIL](gateways, Voice("en", app.state.links), app)
    sender = ledger.sender(carrier)  # type: ignore[arg-type]
    for row in await sender.take(20):
        await sender.carry_out(row)
    return gateways.said
