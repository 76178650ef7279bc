"""Moving vector stores to another embedding model: they stay searchable, and an interrupted move continues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from events.actors import CommandLineActor
from events.envelope import Origin
from events.vector_store.commands import CreateStore, DeleteStore
from projections import vector_stores
from service.cli import reindexing
from service.cli.reindexing import OldStore
from service.database import Pool
from service.errors import CommandError
from service.feed import Feed
from service.sandbox.probe import SandboxProbe
from service.search.base import StoreRef
from service.search.embed.wheels import MINILM, MULTILINGUAL
from service.search.factory import PostgresSearchEngine, open_search_engine
from service.search.indexer import StoreModelChanged
from service.vector_stores.upkeep import Upkeep
from service.writer import Writer
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.search.conftest import Shelf
from tests.search.embedding_server import EmbeddingServer

ORIGIN = Origin("proj_default", CommandLineActor())
TEXT = " ".join(f"Pump {n} stopped at {n % 24} in hall {n % 7}." for n in range(300)).encode()


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingServer]:
    async with EmbeddingServer() as server:
        yield server


@pytest.fixture
def writer(pool: Pool) -> Writer:
    return Writer(pool, Feed(), clock=CLOCK, ids=IDS)


@pytest.fixture
async def old(pool: Pool, tmp_path: Path, server: EmbeddingServer) -> AsyncIterator[PostgresSearchEngine]:
    engine = open_search_engine(
        pool, SandboxProbe(), tmp_path / "log", now=CLOCK.now, base_url=server.base_url, model="old"
    )
    yield engine
    await engine.close()


@pytest.fixture
async def new(pool: Pool, tmp_path: Path, server: EmbeddingServer) -> AsyncIterator[PostgresSearchEngine]:
    engine = open_search_engine(
        pool, SandboxProbe(), tmp_path / "log", now=CLOCK.now, base_url=server.base_url, model="new"
    )
    yield engine
    await engine.close()


async def fill_stores(pool: Pool, writer: Writer, engine: PostgresSearchEngine, *store_ids: str) -> Shelf:
    shelf = Shelf(pool, engine.embedders)
    for store_id in store_ids:
        await writer.vector_store(ORIGIN, store_id, CreateStore(None, None, {}, None, engine.indexer.embedding_model))
        for file_id in ("file-1", "file-2"):
            await shelf.index_file(store_id, file_id, f"{file_id}.txt", TEXT, max_chunk_tokens=100, overlap_tokens=50)
    return shelf


async def models(db: Connection, store_id: str) -> set[str]:
    rows = await db.fetch(
        "SELECT DISTINCT name FROM vectors JOIN embedding_models USING (model_id) WHERE store_id = $1", store_id
    )
    return {row["name"] for row in rows}


@pytest.mark.slow
async def test_a_moved_store_is_searched_as_before(
    pool: Pool,
    db: Connection,
    writer: Writer,
    old: PostgresSearchEngine,
    new: PostgresSearchEngine,
    server: EmbeddingServer,
) -> None:
    await fill_stores(pool, writer, old, "vs_a", "vs_b", "vs_deleted")
    await writer.vector_store(ORIGIN, "vs_deleted", DeleteStore())
    before = await old.searcher.search([StoreRef("vs_a", "old")], ["pump 17"], limit=5)
    found = [store async for store in reindexing.old_stores(writer, "new")]
    assert [(store.id, store.model) for store in found] == [("vs_a", "old"), ("vs_b", "old")]
    chunks: list[int] = []
    for store in found:
        await reindexing.move_store(writer, new, store, chunks.append)
    assert sum(chunks) == sum([await reindexing.count_chunks(writer, store) for store in found])
    for store_id in ("vs_a", "vs_b"):
        assert await models(db, store_id) == {"new"}
        assert (await vector_stores.get(db, "proj_default", store_id, CLOCK.now())).embedding_model == "new"
    after = await new.searcher.search([StoreRef("vs_a", "new")], ["pump 17"], limit=5)
    assert [(hit.position, hit.score) for hit in after.hits] == [(hit.position, hit.score) for hit in before.hits]
    assert [store async for store in reindexing.old_stores(writer, "new")] == []


@pytest.mark.slow
async def test_an_interrupted_move_continues(
    pool: Pool,
    db: Connection,
    writer: Writer,
    old: PostgresSearchEngine,
    new: PostgresSearchEngine,
    server: EmbeddingServer,
) -> None:
    await fill_stores(pool, writer, old, "vs_a")
    (store,) = [store async for store in reindexing.old_stores(writer, "new")]
    server.answers += [None, None, 401]
    with pytest.raises(CommandError, match=r"^vs_a: .*refused the request \(401\)"):
        await reindexing.move_store(writer, new, store, lambda _: None)
    assert await models(db, "vs_a") == {"old", "new"}
    requests = server.requests
    assert (await old.searcher.search([StoreRef("vs_a", "old")], ["pump 17"], limit=1)).hits, (
        "the old vectors are still searched"
    )
    await reindexing.move_store(writer, new, store, lambda _: None)
    assert await models(db, "vs_a") == {"new"}
    texts = [text for seen in server.seen[requests + 1 :] for text in seen["input"]]
    chunks = await db.fetchval("SELECT count(*) FROM chunks WHERE file_id = 'file-2'")
    assert len(texts) == len(set(texts)) == chunks, "the first file was complete"


@pytest.mark.slow
async def test_a_file_that_is_indexed_during_the_move_needs_a_new_attempt(
    pool: Pool, writer: Writer, old: PostgresSearchEngine, new: PostgresSearchEngine, server: EmbeddingServer
) -> None:
    shelf = await fill_stores(pool, writer, old, "vs_a")
    job = await shelf.start_job("vs_a", "file-3", "c.txt", TEXT)
    await reindexing.move_store(writer, new, OldStore("vs_a", "proj_default", "old"), lambda _: None)
    with pytest.raises(StoreModelChanged):
        await shelf.indexer.index(job)


@pytest.mark.slow
async def test_stores_move_between_the_embedded_models(
    pool: Pool, db: Connection, writer: Writer, tmp_path: Path
) -> None:
    """A store of the default model is searched by it until it is moved, although the settings name the other model."""
    engine = open_search_engine(pool, SandboxProbe(), tmp_path / "log", now=CLOCK.now, model="multilingual")
    try:
        await writer.vector_store(ORIGIN, "vs_a", CreateStore(None, None, {}, None, MINILM.name))
        shelf, texts = Shelf(pool, engine.embedders), {"bridge": "The bridge opens at six.", "pump": "The pump is dry."}
        for name, text in texts.items():
            await shelf.index_file("vs_a", f"file-{name}", f"{name}.txt", text.encode(), embedding_model=MINILM.name)
        (store,) = [store async for store in reindexing.old_stores(writer, engine.indexer.embedding_model)]
        assert store.model == MINILM.name
        found = await engine.searcher.search([StoreRef("vs_a", MINILM.name)], ["When is the crossing open?"], limit=2)
        assert found.hits[0].filename == "bridge.txt"
        with capture_logs() as logs:
            await Upkeep(writer, engine.indexer).report_other_models()
        (report,) = logs
        assert report["event"] == "vector_stores_of_other_model"
        assert (report["stores"], report["model"], report["new_model"]) == (1, MINILM.name, MULTILINGUAL.name)
        assert "everthread reindex" in report["remedy"]

        await reindexing.move_store(writer, engine, store, lambda _: None)
        assert await models(db, "vs_a") == {MULTILINGUAL.name}
        found = await engine.searcher.search([StoreRef("vs_a", MULTILINGUAL.name)], ["Quand ouvre le pont ?"], limit=2)
        assert found.hits[0].filename == "bridge.txt", "a question in French, a text in English"
        with capture_logs() as logs:
            await Upkeep(writer, engine.indexer).report_other_models()
        assert logs == []
    finally:
        await engine.close()
