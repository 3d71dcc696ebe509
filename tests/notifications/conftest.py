"""What tests of the ledger share."""

import asyncpg
import pytest
from fastapi import FastAPI

from tests.notifications.ledger import Ledger


@pytest.fixture
def ledger(owner: asyncpg.Connection, app: FastAPI) -> Ledger:
    """The ledger's rows, and a worker's hand to send them."""
    return Ledger(owner, app)
