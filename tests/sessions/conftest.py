"""What tests of sessions share."""

import httpx
import pytest

from tests.sessions.visitors import Visitor


@pytest.fixture
async def ada(api: httpx.AsyncClient) -> Visitor:
    """A patient who is signed in with Firefox."""
    return await Visitor(api, "ada@example.org").register()
