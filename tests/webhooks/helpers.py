"""An endpoint at a receiver, and the moment when all is told."""

from __future__ import annotations

import asyncio
from typing import Any

from service.database import Pool
from tests.client import WAIT_S, Client
from tests.webhooks.receiver import Receiver


async def endpoint_at(client: Client, receiver: Receiver, path: str = "/hook", **more: Any) -> Any:
    made = await client.post("/webhook_endpoints", {"url": receiver.url(path), **more})
    receiver.secrets[path] = made["secret"]
    return made


async def emptied(pool: Pool) -> None:
    """Returns once nothing is left to be told."""
    async with asyncio.timeout(WAIT_S):
        while await pool.fetchval("SELECT count(*) FROM webhook_deliveries"):
            await asyncio.sleep(0.02)
