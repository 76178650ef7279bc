"""API keys for tests, created in the same way as the command line creates them."""

from __future__ import annotations

from typing import Any

from events.clock import Clock
from service.cli import admin
from service.database import Pool
from service.feed import Feed
from service.writer import Writer
from tests.client import Client
from tests.clock import CLOCK, IDS


def writer(pool: Pool, clock: Clock = CLOCK) -> Writer:
    return Writer(pool, Feed(), clock=clock, ids=IDS)


async def make_key(pool: Pool, project: str = "default", scope: Any = "full", **limits: int) -> tuple[str, str]:
    """Creates a key, and returns (id, key)."""
    return await admin.create_key(writer(pool), project, "test", scope, ids=IDS, **limits)


async def as_key(client: Client, pool: Pool, project: str = "default", scope: Any = "full", **limits: int) -> Client:
    """Returns another client of the same server, with a new key. The caller opens it."""
    return Client(client.base_url, key=(await make_key(pool, project, scope, **limits))[1])
