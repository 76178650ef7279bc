"""Helpers for the beginning of most tests."""

from __future__ import annotations

from typing import Any

from tests.client import Client


async def assistant_with(client: Client, **settings: Any) -> Any:
    return await client.post("/assistants", {"model": "gpt-4o", **settings})


async def thread_with(client: Client, *texts: str) -> Any:
    """Creates a thread with these messages of the user."""
    return await client.post("/threads", {"messages": [{"role": "user", "content": text} for text in texts]})


async def run_of(client: Client, text: str, **settings: Any) -> Any:
    """Creates an assistant with `settings`, a thread with one message, and a run. Returns the run."""
    assistant = await assistant_with(client, **settings)
    thread = await thread_with(client, text)
    return await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})


async def said_by(client: Client, run: Any) -> list[str]:
    """Returns the texts that the run wrote, newest first."""
    messages = await client.get(f"/threads/{run['thread_id']}/messages", run_id=run["id"])
    return [message["content"][0]["text"]["value"] for message in messages["data"]]
