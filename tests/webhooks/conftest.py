from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.webhooks import couriers, schedule
from tests.client import Client
from tests.conftest import StartServer
from tests.webhooks.receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


@pytest.fixture
async def client(start_server: StartServer) -> AsyncIterator[Client]:
    async with start_server(webhooks_allow_private=True) as one:
        yield one


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not taken comes again at once, four times."""
    monkeypatch.setattr(schedule, "PAUSES", (0.0,) * 4)
    monkeypatch.setattr(schedule, "REST", 0.0)
    monkeypatch.setattr(schedule, "LONGEST_REST", 0.0)
    monkeypatch.setattr(couriers, "LOOK_EVERY_S", 0.05)
