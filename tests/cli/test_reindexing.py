"""Moving stores to another embedding model while they are searched, and again after an interruption."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.envelope import Origin, now
from events.vector_store.commands import CreateStore, DeleteStore
from projections import vector_stores
from service.cli import reindexing
from service.cli.reindexing import OldStore
from service.database import Pool
from service.errors import CommandError
from service.feed import Feed
from service.sandbox.probe import Confinement
from service.search.base import StoreRef
from service.search.factory import Vectors, open_vectors
from service.search.indexer import ModelMoved
from service.writer import Writer
from sql.connection import Connection
from tests.search.conftest import Shelf
from tests.search.embedding_server import EmbeddingServer

ORIGIN = Origin("proj_default", "test")
TEXT = " ".join(f"Pump {n} stopped at {n % 24} in hall {n % 7}." for n in range(300)).encode()


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as one:
        yield one


@pytest.fixture
def writer(pool: Pool) -> Writer:
    return Writer(pool, Feed())


@pytest.fixture
async def old(pool: Pool, tmp_path: Path, server: EmbeddingServer) -> AsyncIterator[Vectors]:
    made = open_vectors(pool, Confinement(), tmp_path / "log", base_url=server.base_url, model="old")
    yield made
    await made.close()


@pytest.fixture
async def new(pool: Pool, tmp_path: Path, server: EmbeddingServer) -> AsyncIterator[Vectors]:
    made = open_vectors(pool, Confinement(), tmp_path / "log", base_url=server.base_url, model="new")
    yield made
    await made.close()


async def stored(pool: Pool, writer: Writer, vectors: Vectors, *store_ids: str) -> Shelf:
    shelf = Shelf(pool, vectors.embedders)
    for store_id in store_ids:
        await writer.vector_store(ORIGIN, store_id, CreateStore(None, None, {}, None, vectors.indexer.model))
        for file_id in ("file-1", "file-2"):
            await shelf.put(store_id, file_id, f"{file_id}.txt", TEXT, max_chunk_tokens=100, overlap_tokens=50)
    return shelf


async def models(db: Connection, store_id: str) -> set[str]:
    rows = await db.fetch(
        "SELECT DISTINCT name FROM vectors JOIN embedding_models USING (model_id) WHERE store_id = $1", store_id
    )
    return {row["name"] for row in rows}


async def test_stores_move_and_are_found_as_before(
    pool: Pool, db: Connection, writer: Writer, old: Vectors, new: Vectors, server: EmbeddingServer
) -> None:
    await stored(pool, writer, old, "vs_a", "vs_b", "vs_gone")
    await writer.vector_store(ORIGIN, "vs_gone", DeleteStore())
    before = await old.searcher.search([StoreRef("vs_a", "old")], ["pump 17"], limit=5)
    found = [one async for one in reindexing.old_stores(writer, "new")]
    assert [(one.id, one.model) for one in found] == [("vs_a", "old"), ("vs_b", "old")]
    chunks: list[int] = []
    for one in found:
        await reindexing.move_store(writer, new, one, chunks.append)
    assert sum(chunks) == sum([await reindexing.count_chunks(writer, one) for one in found])
    for store_id in ("vs_a", "vs_b"):
        assert await models(db, store_id) == {"new"}
        assert (await vector_stores.get(db, "proj_default", store_id, now())).embedding_model == "new"
    after = await new.searcher.search([StoreRef("vs_a", "new")], ["pump 17"], limit=5)
    assert [(hit.position, hit.score) for hit in after.hits] == [(hit.position, hit.score) for hit in before.hits]
    assert [one async for one in reindexing.old_stores(writer, "new")] == []


async def test_what_is_broken_off_goes_on(
    pool: Pool, db: Connection, writer: Writer, old: Vectors, new: Vectors, server: EmbeddingServer
) -> None:
    await stored(pool, writer, old, "vs_a")
    (store,) = [one async for one in reindexing.old_stores(writer, "new")]
    server.answers += [None, None, 401]
    with pytest.raises(CommandError, match=r"^vs_a: .*refused the request \(401\)"):
        await reindexing.move_store(writer, new, store, lambda _: None)
    assert await models(db, "vs_a") == {"old", "new"}
    asked = server.requests
    assert (await old.searcher.search([StoreRef("vs_a", "old")], ["pump 17"], limit=1)).hits, "it is as it was"
    await reindexing.move_store(writer, new, store, lambda _: None)
    assert await models(db, "vs_a") == {"new"}
    texts = [text for seen in server.seen[asked + 1 :] for text in seen["input"]]
    chunks = await db.fetchval("SELECT count(*) FROM chunks WHERE file_id = 'file-2'")
    assert len(texts) == len(set(texts)) == chunks, "the first file was done"


async def test_a_file_that_was_indexed_meanwhile_begins_anew(
    pool: Pool, writer: Writer, old: Vectors, new: Vectors, server: EmbeddingServer
) -> None:
    shelf = await stored(pool, writer, old, "vs_a")
    job = await shelf.begun("vs_a", "file-3", "c.txt", TEXT)
    await reindexing.move_store(writer, new, OldStore("vs_a", "proj_default", "old"), lambda _: None)
    with pytest.raises(ModelMoved):
        await shelf.indexer.index(job)
