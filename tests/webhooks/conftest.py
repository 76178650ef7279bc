"""Fixtures: a receiver of webhooks, a server that may send to it, and retries without pauses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.webhooks import couriers, schedule
from tests.client import Client
from tests.conftest import StartServer
from tests.webhooks.receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def client(start_server: StartServer) -> AsyncIterator[Client]:
    async with start_server(webhooks_allow_private=True) as client:
        yield client


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the couriers retry a refused message at once, four times."""
    monkeypatch.setattr(schedule, "PAUSES", (0.0,) * 4)
    monkeypatch.setattr(schedule, "REST", 0.0)
    monkeypatch.setattr(schedule, "LONGEST_REST", 0.0)
    monkeypatch.setattr(couriers, "LOOK_EVERY_S", 0.05)
