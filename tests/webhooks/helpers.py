"""Creates endpoints at a receiver, and waits until the outbox is empty."""

from __future__ import annotations

import asyncio
from typing import Any

from service.database import Pool
from tests.client import WAIT_S, Client
from tests.webhooks.receiver import Receiver

# The types of the messages of a run that completes without tool calls.
PLAIN = ("thread.run.created", "thread.run.in_progress", "thread.run.completed")


async def create_endpoint(client: Client, receiver: Receiver, path: str = "/hook", **more: Any) -> Any:
    endpoint = await client.post("/webhook_endpoints", {"url": receiver.url(path), **more})
    receiver.secrets[path] = endpoint["secret"]
    return endpoint


async def wait_until_delivered(pool: Pool) -> None:
    """Waits until the outbox holds no messages."""
    async with asyncio.timeout(WAIT_S):
        while await pool.fetchval("SELECT count(*) FROM webhook_deliveries"):
            await asyncio.sleep(0.02)
