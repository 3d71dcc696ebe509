"""What tests of webhooks share."""

from collections.abc import Iterator

import asyncpg
import pytest
from fastapi import FastAPI

from tests.webhooks.hooks import Hooks


@pytest.fixture
def hooks(owner: asyncpg.Connection, app: FastAPI) -> Hooks:
    """Makes webhooks, and sends."""
    return Hooks(owner, app)


@pytest.fixture
def private_allowed(app: FastAPI) -> Iterator[None]:
    """The operator lets webhooks reach private addresses."""
    settings = app.state.settings
    app.state.settings = settings.model_copy(update={"webhook_allow_private": True})
    yield
    app.state.settings = settings
