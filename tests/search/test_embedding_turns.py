"""Batches of a file are embedded at the same time, and files of several flows take turns."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.search.base import IndexingInterrupted
from service.search.embed.base import EmbedderDied, EmbeddingError
from service.search.embed.remote import AT_ONCE, RemoteEmbedder
from service.search.indexer import RESERVED
from sql.connection import Connection
from tests.search.conftest import MakeShelf, Shelf
from tests.search.embedding_server import EmbeddingServer

LINES = " ".join(f"Line {n} of the log says that pump {n % 7} stopped at {n % 24}:00." for n in range(600))
SETTINGS: dict[str, Any] = {"max_chunk_tokens": 100, "overlap_tokens": 0}
TIMEOUT_S = 60.0


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as server:
        yield server


@pytest.fixture
def shelf(make_shelf: MakeShelf, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(RemoteEmbedder, "batch", 5)
    return make_shelf(base_url=server.base_url, model="small", key="embedding-key")


async def until_requests(server: EmbeddingServer, count: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while server.requests < count:
            await asyncio.sleep(0.01)


async def start(shelf: Shelf, file: str, flow: str) -> asyncio.Task[Any]:
    job = await shelf.start_job("vs_a", file, "log.txt", LINES.encode(), **SETTINGS)
    return asyncio.create_task(shelf.indexer.index(replace(job, flow=flow)))


async def test_batches_are_embedded_at_once_and_written_in_order(
    shelf: Shelf, db: Connection, server: EmbeddingServer
) -> None:
    server.held.clear()
    task = await start(shelf, "file-1", "proj_a large")
    await until_requests(server, AT_ONCE)
    server.held.set()
    result = await task
    rows = await db.fetch(
        "SELECT number, text, embedding::text AS embedding FROM vectors"
        " JOIN chunks USING (store_id, file_id, job) WHERE chunk = first_chunk ORDER BY number"
    )
    assert [row["number"] for row in rows] == list(range(result.chunks))
    for row in rows:
        vector = server._vector(row["text"])
        length = math.hypot(*vector)
        assert orjson.loads(row["embedding"]) == pytest.approx([number / length for number in vector], abs=1e-6)


async def test_a_small_file_waits_for_no_batch_of_large_ones(shelf: Shelf, server: EmbeddingServer) -> None:
    server.held.clear()
    tasks = [await start(shelf, f"file-{number}", "proj_a large") for number in range(2)]
    await until_requests(server, AT_ONCE)
    tasks.append(await start(shelf, "file-3", "proj_a small"))
    await until_requests(server, AT_ONCE + RESERVED)
    assert server.requests == AT_ONCE + RESERVED, "the large files have no more places"
    server.held.set()
    await asyncio.gather(*tasks)


async def test_an_error_of_a_batch_ends_the_others(shelf: Shelf, db: Connection, server: EmbeddingServer) -> None:
    embedder = shelf.indexer._embedders.get("small")
    server.answers = [None, 400]
    task = await start(shelf, "file-1", "")
    with pytest.raises(Exception, match="refused the request") as raised:
        await task
    assert not isinstance(raised.value, (EmbeddingError, BaseExceptionGroup)), "the file fails with the reason"
    assert await embedder.embed(["the embedder still works"])


async def test_the_death_of_the_embedding_process_is_worth_another_attempt(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_args: object, **_settings: object) -> None:
        raise EmbedderDied("The embedding model died.")

    monkeypatch.setattr(RemoteEmbedder, "embed", die)
    with pytest.raises(IndexingInterrupted, match="died"):
        await (await start(shelf, "file-1", ""))
