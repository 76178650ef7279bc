"""An attempt continues where the attempt before was broken off, and embedding begins before all chunks are written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from service.search import indexer
from service.search.base import IndexingJob, IndexingResult
from service.search.chunks import Chunk, Chunker
from service.search.embed.remote import BATCH
from sql.connection import Connection
from tests.search.conftest import MakeShelf, Shelf
from tests.search.embedding_server import EmbeddingServer

LINES = " ".join(f"Line {n} of the log says that pump {n % 7} stopped at {n % 24}:00." for n in range(1800))
SETTINGS: dict[str, Any] = {"max_chunk_tokens": 100, "overlap_tokens": 0}
TIMEOUT_S = 60.0


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as server:
        yield server


@pytest.fixture
def shelf(make_shelf: MakeShelf, server: EmbeddingServer) -> Shelf:
    return make_shelf(base_url=server.base_url, model="small", key="embedding-key")


async def _break_off(shelf: Shelf, db: Connection, server: EmbeddingServer, *, vectors: int) -> IndexingJob:
    """Indexes a file until it has that many vectors and all of its chunks, and then cancels the attempt."""
    job = await shelf.start_job("vs_a", "file-1", "log.txt", LINES.encode(), **SETTINGS)
    task = asyncio.create_task(shelf.indexer.index(job))
    async with asyncio.timeout(TIMEOUT_S):
        while await db.fetchval("SELECT count(*) FROM vectors") < vectors:
            await asyncio.sleep(0.01)
        server.held.clear()
        while not await db.fetchval("SELECT chunks FROM chunk_files"):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    server.held.set()
    return job


async def _continue(shelf: Shelf, job: IndexingJob) -> tuple[IndexingJob, IndexingResult]:
    new = replace(await shelf.start_job("vs_a", "file-1", "log.txt", LINES.encode(), **SETTINGS), previous=job.number)
    return new, await shelf.indexer.index(new)


async def _rows(db: Connection) -> list[list[tuple[object, ...]]]:
    queries = (
        "SELECT chunk, start, text FROM chunks ORDER BY chunk",
        "SELECT number, first_chunk, last_chunk, embedding::text FROM vectors ORDER BY number",
        "SELECT word, chunks FROM chunk_words ORDER BY word",
    )
    return [[tuple(row) for row in await db.fetch(query)] for query in queries]


@pytest.mark.slow
async def test_embedding_goes_on_after_the_last_vector(shelf: Shelf, db: Connection, server: EmbeddingServer) -> None:
    job = await _break_off(shelf, db, server, vectors=BATCH)
    kept = await db.fetchval("SELECT count(*) FROM vectors")
    server.seen.clear()
    new, result = await _continue(shelf, job)
    assert BATCH <= kept < result.chunks
    assert sum(len(seen["input"]) for seen in server.seen) == result.chunks - kept
    assert await db.fetch("SELECT DISTINCT job FROM chunk_files") == [(new.number,)]
    continued = await _rows(db)

    whole = await shelf.start_job("vs_a", "file-1", "log.txt", LINES.encode(), **SETTINGS)
    assert await shelf.indexer.index(whole) == result
    assert await _rows(db) == continued


@pytest.mark.slow
async def test_an_attempt_whose_end_was_not_recorded(shelf: Shelf, db: Connection, server: EmbeddingServer) -> None:
    job = await shelf.index_file("vs_a", "file-1", "log.txt", LINES.encode(), **SETTINGS)
    before = await _rows(db)
    server.seen.clear()
    await _continue(shelf, job)
    assert (server.seen, await _rows(db)) == ([], before)


@pytest.mark.slow
async def test_a_continued_file_of_another_embedding_model(
    make_shelf: MakeShelf, shelf: Shelf, db: Connection, server: EmbeddingServer
) -> None:
    job = await _break_off(shelf, db, server, vectors=BATCH)
    other = make_shelf(base_url=server.base_url, model="other", key="embedding-key")
    _, result = await _continue(other, job)
    found = await db.fetch("SELECT name, count(*) FROM vectors JOIN embedding_models USING (model_id) GROUP BY name")
    assert found == [("other", result.chunks)]


@pytest.mark.slow
async def test_a_file_that_was_not_parsed_to_its_end(
    shelf: Shelf, db: Connection, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedding begins before the last chunks are written; an attempt that ends here starts from zero."""
    is_open = threading.Event()

    class SlowChunker(Chunker):
        def end(self) -> list[Chunk]:
            assert is_open.wait(TIMEOUT_S)
            return super().end()

    monkeypatch.setattr(indexer, "Chunker", SlowChunker)
    job = await shelf.start_job("vs_a", "file-1", "log.txt", LINES.encode(), **SETTINGS)
    task = asyncio.create_task(shelf.indexer.index(job))
    async with asyncio.timeout(TIMEOUT_S):
        while not await db.fetchval("SELECT count(*) FROM vectors"):
            await asyncio.sleep(0.01)
    task.cancel()
    is_open.set()
    await asyncio.wait({task})
    new, result = await _continue(shelf, job)
    assert await db.fetch("SELECT DISTINCT job FROM vectors") == [(new.number,)]
    assert await db.fetchval("SELECT count(*) FROM vectors") == result.chunks
    assert result.usage_bytes == len(LINES.encode()) + 4 * server.dimensions * result.chunks
