"""Helpers that create vector stores and files."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.client import Client
from tests.fake_search_engine import WAIT_S
from tests.http.files import upload

POLL = 0.005


async def file_named(client: Client, name: str, content: str = "Some text.") -> str:
    """Creates a file and returns its id. The fake indexer acts on the name of the file."""
    made = await upload(client, content.encode(), filename=f'filename="{name}"')
    return str(made["id"])


async def store_with(client: Client, *names: str, **settings: Any) -> Any:
    """Creates a store with new files of these names, and waits until all of them are indexed."""
    ids = [await file_named(client, name) for name in names]
    made = await client.post("/vector_stores", {"file_ids": ids, **settings})
    return await settled(client, made["id"])


async def thread_without_its_store(client: Client) -> tuple[Any, Any]:
    """Creates a thread whose store is deleted, and a message with a file for file_search. The message needs a new
    store.
    """
    gone = await client.post("/vector_stores", {})
    thread = await client.post("/threads", {"tool_resources": {"file_search": {"vector_store_ids": [gone["id"]]}}})
    await client.delete(f"/vector_stores/{gone['id']}")
    brought = {"file_id": await file_named(client, "a.txt"), "tools": [{"type": "file_search"}]}
    return thread, {"role": "user", "content": "Look", "attachments": [brought]}


async def settled(client: Client, store_id: str) -> Any:
    """Waits until no file of the store is in progress, and returns the store."""
    async with asyncio.timeout(WAIT_S):
        while (found := await client.get(f"/vector_stores/{store_id}"))["status"] == "in_progress":
            await asyncio.sleep(POLL)
        return found


async def files_of(client: Client, store_id: str, **query: str) -> dict[str, Any]:
    """Returns the files of the store by id, newest first."""
    page = await client.get(f"/vector_stores/{store_id}/files", limit="100", **query)
    return {file["id"]: file for file in page["data"]}


async def searched(client: Client, store_id: str, query: str | list[str], **settings: Any) -> list[Any]:
    found = await client.post(f"/vector_stores/{store_id}/search", {"query": query, **settings})
    return list(found["data"])
