"""What tests of feeds share."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.factories import Person

Subscribe = Callable[[Person], Awaitable[str]]


@pytest.fixture
def subscribe(api: httpx.AsyncClient) -> Subscribe:
    """Asks for a person's feed and gives its path."""

    async def ask(person: Person) -> str:
        answer = await api.post("/users/me/calendar-feed", headers=person.headers)
        assert answer.status_code == 201, answer.text
        return f"/calendar/{answer.json()['token']}.ics"

    return ask
