"""The rows that indexing writes and removes, and when it stops, with an embedding server of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.search import indexer
from service.search.base import IndexingFailure, RevokedJob, SearchFailure, StoreRef
from service.search.embed.wheels import MINILM
from sql.connection import Connection
from tests.search import sample_documents
from tests.search.conftest import MakeShelf, Shelf
from tests.search.embedding_server import EmbeddingServer

WORDS = " ".join(f"Line {n} of the log says that pump {n % 7} stopped at {n % 24}:00." for n in range(600))


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as server:
        yield server


@pytest.fixture
def shelf(make_shelf: MakeShelf, server: EmbeddingServer) -> Shelf:
    return make_shelf(base_url=server.base_url, model="small", key="embedding-key")


async def counts(db: Connection) -> dict[str, int]:
    tables = ("chunks", "vectors", "chunk_files", "chunk_words")
    return {table: await db.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


NOTHING = {"chunks": 0, "vectors": 0, "chunk_files": 0, "chunk_words": 0}


async def test_chunks_are_parts_of_the_file_and_cover_it(shelf: Shelf, db: Connection) -> None:
    job = await shelf.start_job("vs_a", "file-1", "log.txt", WORDS.encode(), max_chunk_tokens=200, overlap_tokens=60)
    result = await shelf.indexer.index(job)
    rows = await db.fetch("SELECT chunk, start, text, tokens FROM chunks ORDER BY chunk")
    covered = 0
    for row in rows:
        assert WORDS[row["start"] : row["start"] + len(row["text"])] == row["text"]
        assert row["start"] <= covered
        covered = row["start"] + len(row["text"])
    assert covered == len(WORDS)
    assert result.chunks == len(rows) > 64, "several pages of them"
    assert result.usage_bytes == len(WORDS) + 4 * 8 * await db.fetchval("SELECT count(*) FROM vectors")
    assert await db.fetchval("SELECT count(*) FROM vectors") == len(rows), "the model of a server embeds whole chunks"
    await shelf.set_status(job)
    assert await shelf.searcher.chunk_texts("vs_a", "file-1", after=-1, limit=5) == [row["text"] for row in rows[:5]]
    assert await shelf.searcher.chunk_texts("vs_a", "file-1", after=4, limit=2) == [row["text"] for row in rows[5:7]]
    assert await db.fetchval("SELECT chunks FROM chunk_words WHERE word = 'vs_a'") == len(rows)


@pytest.mark.slow
async def test_chunks_have_pages(shelf: Shelf) -> None:
    data = sample_documents.pdf(
        [f"Page {n} is about {word}. " * 40 for n, word in enumerate(["tides", "bridges", "ropes"], 1)]
    )
    await shelf.index_file("vs_a", "file-1", "a.pdf", data, max_chunk_tokens=100, overlap_tokens=0)
    found = await shelf.searcher.search([StoreRef("vs_a", "small")], ["ropes"], limit=20)
    pages = [hit.page for hit in sorted(found.hits, key=lambda hit: hit.position)]
    assert pages[0] == 1
    assert pages[-1] == 3
    assert set(pages) == {1, 2, 3}


@pytest.mark.slow
async def test_windows_are_shared_between_neighbours(make_shelf: MakeShelf, db: Connection) -> None:
    shelf = make_shelf()
    await shelf.index_file("vs_a", "file-1", "log.txt", WORDS[:9000].encode())
    rows = await db.fetch("SELECT first_chunk, last_chunk FROM vectors ORDER BY number")
    chunks = await db.fetchval("SELECT count(*) FROM chunks")
    assert sum(1 for row in rows if row["last_chunk"] == row["first_chunk"] + 1) >= 2 * (chunks - 2)
    assert {chunk for row in rows for chunk in range(row["first_chunk"], row["last_chunk"] + 1)} == set(range(chunks))


async def test_a_revoked_job_writes_nothing(shelf: Shelf, db: Connection) -> None:
    job = await shelf.start_job("vs_a", "file-1", "log.txt", WORDS.encode())
    await shelf.set_status(job, "removed")
    with pytest.raises(RevokedJob):
        await shelf.indexer.index(job)
    assert await counts(db) == NOTHING


async def test_removing_a_file_during_indexing_stops_its_job(
    shelf: Shelf, db: Connection, server: EmbeddingServer
) -> None:
    job = await shelf.start_job("vs_a", "file-1", "log.txt", WORDS.encode(), max_chunk_tokens=100, overlap_tokens=0)
    server.held.clear()
    task = asyncio.create_task(shelf.indexer.index(job))
    await server.was_called.wait()
    await shelf.set_status(job, "removed")
    server.held.set()
    with pytest.raises(RevokedJob):
        await task
    assert (await counts(db))["chunks"] > 0
    assert (await counts(db))["vectors"] == 0
    await shelf.indexer.remove("vs_a", ["file-1"])
    assert await counts(db) == NOTHING


@pytest.mark.slow
async def test_a_new_attempt_deletes_the_rows_of_old_attempts(shelf: Shelf, db: Connection) -> None:
    await shelf.index_file("vs_a", "file-1", "log.txt", WORDS.encode())
    before = await db.fetch("SELECT store_id, word, chunks FROM chunk_words ORDER BY word")
    again = await shelf.index_file("vs_a", "file-1", "log.txt", WORDS.encode())
    assert await db.fetch("SELECT DISTINCT job FROM chunks") == [(again.number,)]
    assert await db.fetch("SELECT DISTINCT job FROM vectors") == [(again.number,)]
    assert await db.fetch("SELECT store_id, word, chunks FROM chunk_words ORDER BY word") == before


@pytest.mark.slow
async def test_removing_and_sweeping_keep_live_chunks(shelf: Shelf, db: Connection) -> None:
    kept = await shelf.index_file("vs_a", "file-1", "log.txt", WORDS.encode())
    removed = await shelf.index_file("vs_a", "file-2", "log.txt", WORDS.encode())
    other = await shelf.index_file("vs_b", "file-1", "log.txt", WORDS.encode())
    await shelf.indexer.remove("vs_a", ["file-1", "file-2"])
    await shelf.indexer.sweep()
    assert (await counts(db))["chunk_files"] == 3, "all of them are live"
    await shelf.set_status(removed, "removed")
    await shelf.indexer.remove("vs_a")
    assert {row["file_id"] for row in await db.fetch("SELECT file_id FROM chunk_files WHERE store_id = 'vs_a'")} == {
        "file-1"
    }
    before = await db.fetchval("SELECT count(*) FROM chunk_words WHERE store_id = 'vs_b'")
    for job in (kept, other):
        await db.execute("UPDATE vector_store_files SET job = NULL WHERE job = $1", job.number)
    assert before > 0
    await shelf.indexer.sweep()
    assert await counts(db) == NOTHING


@pytest.mark.slow
async def test_files_of_one_store_are_indexed_concurrently(shelf: Shelf, db: Connection) -> None:
    jobs = [await shelf.start_job("vs_a", f"file-{n}", "log.txt", WORDS[n * 700 :].encode()) for n in range(6)]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(shelf.indexer.index(job))
    chunks = await db.fetchval("SELECT count(*) FROM chunks")
    assert await db.fetchval("SELECT chunks FROM chunk_words WHERE word = 'pump'") == chunks


async def test_too_many_tokens(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "MAX_TOKENS", 2000)
    job = await shelf.start_job("vs_a", "file-1", "log.txt", WORDS.encode() * 8)
    with pytest.raises(IndexingFailure, match="more than 2,000 tokens") as caught:
        await shelf.indexer.index(job)
    assert caught.value.code == "invalid_file"


@pytest.mark.slow
async def test_errors_of_the_embedding_server(shelf: Shelf, server: EmbeddingServer) -> None:
    server.answers += [503, 429]
    await shelf.index_file("vs_a", "file-1", "log.txt", WORDS[:300].encode())
    assert server.requests == 3, "the request is retried until it succeeds"
    assert server.seen[0] == {"authorization": "Bearer embedding-key", "model": "small", "input": [WORDS[:300]]}
    for answer, words in ((401, "refused the request (401)"), ("{}", "no embeddings"), ("short", "too few")):
        server.answers.append(answer)
        job = await shelf.start_job("vs_a", "file-2", "log.txt", b"words")
        with pytest.raises(IndexingFailure, match=r".+") as caught:
            await shelf.indexer.index(job)
        assert caught.value.code == "server_error"
        assert words in caught.value.message
        assert "embedding-key" not in caught.value.message
    server.answers.append(400)
    with pytest.raises(SearchFailure, match=r"refused the request \(400\)"):
        await shelf.searcher.search([StoreRef("vs_a", "small")], ["words"], limit=1)


@pytest.mark.slow
async def test_vectors_of_different_models_are_not_mixed(
    make_shelf: MakeShelf, server: EmbeddingServer, db: Connection
) -> None:
    old = make_shelf(base_url=server.base_url, model="small")
    await old.index_file("vs_old", "file-1", "a.txt", b"The bridge opens at six.")
    server.dimensions = 2500
    new = make_shelf(base_url=server.base_url, model="large")
    assert new.indexer.embedding_model == "large"
    await new.index_file("vs_new", "file-1", "a.txt", b"The bridge opens at six.")
    sizes = await db.fetch("SELECT store_id, vector_dims(embedding) AS size FROM vectors ORDER BY size")
    assert [tuple(row) for row in sizes] == [("vs_old", 8), ("vs_new", 2500)]
    indexes = await db.fetch("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%hnsw%' ORDER BY tablename")
    assert "::vector(8)" in indexes[0]["indexdef"]
    assert "::halfvec(2500)" in indexes[1]["indexdef"]
    found = await new.searcher.search([StoreRef("vs_new", "large")], ["When does the bridge open?"], limit=5)
    assert [hit.store_id for hit in found.hits] == ["vs_new"]
    server.dimensions = 8
    both = [StoreRef("vs_new", "large"), StoreRef("vs_old", "small")]
    job = await new.start_job("vs_new", "file-2", "b.txt", b"other words")
    with pytest.raises(IndexingFailure, match="vectors of 8 numbers now and gave 2500 before"):
        await new.indexer.index(job)
    with pytest.raises(SearchFailure, match="vectors of 8 numbers now"):
        await new.searcher.search(both, ["bridge"], limit=5)
    without = make_shelf()
    assert without.indexer.embedding_model == MINILM.name
    with pytest.raises(SearchFailure, match="everthread reindex"):
        await without.searcher.search([StoreRef("vs_old", "small")], ["bridge"], limit=5)
