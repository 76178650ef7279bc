"""Indexing and search with the real embedded model."""

from __future__ import annotations

import pytest

from service.search import hybrid
from service.search.base import SearchFailure, StoreRef
from service.search.filters import jsonpath
from service.search.fusion import SIMILARITY_WEIGHT
from service.search.keywords import MAX_WORDS
from tests.search.conftest import MakeShelf, Shelf
from tests.search.embedding_server import EmbeddingServer

FOODS = b"This file describes the favorite foods of several people.\n\nSummanus Ferdinand: tacos\nFilip Carola: cake"
BOATS = b"A ketch has two masts, a sloop only one. Rigging is checked every spring before the boat goes into the water."
TAXES = b"The value added tax on books is seven percent, on most other things nineteen. Invoice 4711-X is overdue."


async def fill(shelf: Shelf) -> StoreRef:
    await shelf.index_file("vs_a", "file-foods", "foods.txt", FOODS, attributes={"kind": "people", "year": 2023})
    await shelf.index_file("vs_a", "file-boats", "boats.md", BOATS, attributes={"kind": "things", "year": 2024})
    await shelf.index_file("vs_a", "file-taxes", "taxes.txt", TAXES, attributes={"kind": "things"})
    return StoreRef("vs_a", shelf.indexer.embedding_model)


@pytest.mark.slow
async def test_the_best_chunks_are_found(shelf: Shelf) -> None:
    store = await fill(shelf)
    found = await shelf.searcher.search([store], ["What does Filip like to eat?"], limit=10)
    assert found.queries == ("What does Filip like to eat?",)
    best = found.hits[0]
    assert (best.file_id, best.filename, best.text, best.position, best.page) == (
        "file-foods",
        "foods.txt",
        FOODS.decode(),
        0,
        None,
    )
    assert best.attributes == {"kind": "people", "year": 2023}
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in found.hits)
    for query, file in (("sailing vessels", "file-boats"), ("4711-X", "file-taxes"), ("VAT rates", "file-taxes")):
        assert (await shelf.searcher.search([store], [query], limit=1)).hits[0].file_id == file, query
    both = await shelf.searcher.search([store], ["sailing vessels", "Filip's meals"], limit=2)
    assert {hit.file_id for hit in both.hits} == {"file-boats", "file-foods"}
    assert (await shelf.searcher.search([store], ["", "  "], limit=5)).hits == []
    assert (await shelf.searcher.search([StoreRef("vs_none", store.embedding_model)], ["boat"], limit=5)).hits == []


@pytest.mark.slow
async def test_thresholds_limits_and_rankers(shelf: Shelf) -> None:
    store = await fill(shelf)
    found = await shelf.searcher.search([store], ["a boat with two masts"], limit=10)
    first, second = found.hits[0], found.hits[1]
    between = (first.score + second.score) / 2
    one = await shelf.searcher.search([store], ["a boat with two masts"], limit=10, threshold=between)
    assert [hit.file_id for hit in one.hits] == ["file-boats"]
    assert len((await shelf.searcher.search([store], ["boat"], limit=2)).hits) == 2
    plain = await shelf.searcher.search([store], ["a boat with two masts"], limit=10, ranker="none")
    assert plain.hits[0].file_id == "file-boats"
    assert plain.hits[0].score == pytest.approx(1.0), "the hit is first in both orders"


@pytest.mark.slow
async def test_filters_apply_with_and_without_the_index(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await fill(shelf)
    where = jsonpath({"type": "eq", "key": "kind", "value": "things"})
    for exact in (hybrid.EXACT_CHUNKS, 0):
        monkeypatch.setattr(hybrid, "EXACT_CHUNKS", exact)
        for windows in (hybrid.EXACT_WINDOWS, -1):
            monkeypatch.setattr(hybrid, "EXACT_WINDOWS", windows)
            found = await shelf.searcher.search([store], ["Filip's favorite foods"], limit=10, where=where)
            assert {hit.file_id for hit in found.hits} == {"file-boats", "file-taxes"}
    await shelf.pool.execute(
        "UPDATE vector_store_files SET attributes = '{\"kind\": \"x\"}' WHERE file_id = 'file-boats'"
    )
    found = await shelf.searcher.search([store], ["boat"], limit=10, where=where)
    assert {hit.file_id for hit in found.hits} == {"file-taxes"}


@pytest.mark.slow
async def test_only_completed_files_are_found(shelf: Shelf) -> None:
    store = await fill(shelf)
    job = await shelf.start_job("vs_a", "file-new", "new.txt", b"A yawl has two masts as well.")
    await shelf.indexer.index(job)
    assert "file-new" not in {hit.file_id for hit in (await shelf.searcher.search([store], ["yawl"], limit=10)).hits}
    assert await shelf.searcher.chunk_texts("vs_a", "file-new", after=-1, limit=10) == []
    await shelf.set_status(job)
    assert (await shelf.searcher.search([store], ["yawl"], limit=10)).hits[0].file_id == "file-new"
    await shelf.set_status(job, "removed")
    assert "file-new" not in {hit.file_id for hit in (await shelf.searcher.search([store], ["yawl"], limit=10)).hits}


@pytest.mark.slow
@pytest.mark.parametrize(("blob", "expires_at"), [(None, None), ("b", 1)], ids=["deleted", "expired"])
async def test_chunks_of_deleted_and_expired_files_are_not_found(
    shelf: Shelf, blob: str | None, expires_at: int | None
) -> None:
    """A process may die after it deleted a File and before it removed it from its vector stores."""
    store = await fill(shelf)

    async def search(limit: int = 10) -> list[str]:
        return [hit.file_id for hit in (await shelf.searcher.search([store], ["boat"], limit=limit)).hits]

    assert await search(1) == ["file-boats"]
    others = (await search())[1:]
    await shelf.pool.execute(
        "INSERT INTO files (file_id, project_id, created_at, purpose, blob, expires_at, body)"
        " VALUES ('file-boats', 'proj_default', now(), 'assistants', $1, $2, '{}')",
        *(blob, expires_at),
    )
    assert await search() == others
    assert await search(1) == others[:1], "the missing file does not count towards the limit"


@pytest.mark.slow
async def test_a_search_that_takes_too_long_fails(make_shelf: MakeShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddingServer() as server:
        shelf = make_shelf(base_url=server.base_url, model="letters", key="k")
        store = await fill(shelf)
        server.held.clear()
        monkeypatch.setattr(hybrid, "SEARCH_TIMEOUT", 0.1)
        with pytest.raises(SearchFailure, match=r"longer than 0\.1 seconds"):
            await shelf.searcher.search([store], ["boat"], limit=1)
        server.held.set()


@pytest.mark.slow
async def test_long_queries_keep_their_words(shelf: Shelf) -> None:
    """If a query has more than MAX_WORDS words, the store's id must stay among them, or no word would have a weight."""
    many = " ".join(f"word{number}" for number in range(2 * MAX_WORDS))
    await shelf.index_file("vs_a", "file-many", "many.txt", many.encode())
    hits = (await shelf.searcher.search([StoreRef("vs_a", shelf.indexer.embedding_model)], [many], limit=1)).hits
    assert hits[0].score > SIMILARITY_WEIGHT


@pytest.mark.slow
async def test_several_stores(shelf: Shelf) -> None:
    store = await fill(shelf)
    await shelf.index_file("vs_b", "file-foods", "foods.txt", FOODS)
    other = StoreRef("vs_b", shelf.indexer.embedding_model)
    found = await shelf.searcher.search([store, other, other], ["What is Filip's favorite food?"], limit=2)
    assert [(hit.store_id, hit.file_id) for hit in found.hits] == [("vs_a", "file-foods"), ("vs_b", "file-foods")]
    alone = await shelf.searcher.search([other], ["What is Filip's favorite food?"], limit=9)
    assert {hit.store_id for hit in alone.hits} == {"vs_b"}


@pytest.mark.slow
async def test_a_chunk_with_the_id_of_another_store_among_its_words_is_not_found(shelf: Shelf) -> None:
    """A chunk's words name its store, but nothing keeps a text from containing another store's id."""
    await shelf.index_file("vs_a", "file-boats", "boats.md", BOATS)
    await shelf.index_file("vs_b", "file-secret", "secret.txt", b"The ketch of Filip has two masts.")
    await shelf.pool.execute("UPDATE chunks SET words = words || array_to_tsvector(ARRAY ['vs_a'])")
    store = StoreRef("vs_a", shelf.indexer.embedding_model)
    found = await shelf.searcher.search([store], ["ketch masts"], limit=10)
    assert {hit.store_id for hit in found.hits} == {"vs_a"}
    async with shelf.pool.acquire() as db:
        by_words = await shelf.searcher.find_by_words(db, ["vs_a"], "ketch masts")
    assert {store_id for store_id, *_ in by_words} == {"vs_a"}
