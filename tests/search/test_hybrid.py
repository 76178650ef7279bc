"""Indexing and search, by the embedded model for real."""

from __future__ import annotations

import pytest

from service.search import hybrid
from service.search.base import SearchFailed, StoreRef
from service.search.filters import jsonpath
from service.search.fusion import LIKENESS
from service.search.keywords import MAX_WORDS
from tests.search.conftest import MakeShelf, Shelf
from tests.search.embedding_server import EmbeddingServer

FOODS = b"This file describes the favorite foods of several people.\n\nSummanus Ferdinand: tacos\nFilip Carola: cake"
BOATS = b"A ketch has two masts, a sloop only one. Rigging is checked every spring before the boat goes into the water."
TAXES = b"The value added tax on books is seven percent, on most other things nineteen. Invoice 4711-X is overdue."


async def shelved(shelf: Shelf) -> StoreRef:
    await shelf.put("vs_a", "file-foods", "foods.txt", FOODS, attributes={"kind": "people", "year": 2023})
    await shelf.put("vs_a", "file-boats", "boats.md", BOATS, attributes={"kind": "things", "year": 2024})
    await shelf.put("vs_a", "file-taxes", "taxes.txt", TAXES, attributes={"kind": "things"})
    return StoreRef("vs_a", shelf.indexer.model)


async def test_what_is_found(shelf: Shelf) -> None:
    store = await shelved(shelf)
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


async def test_thresholds_limits_and_rankers(shelf: Shelf) -> None:
    store = await shelved(shelf)
    found = await shelf.searcher.search([store], ["a boat with two masts"], limit=10)
    first, second = found.hits[0], found.hits[1]
    between = (first.score + second.score) / 2
    one = await shelf.searcher.search([store], ["a boat with two masts"], limit=10, threshold=between)
    assert [hit.file_id for hit in one.hits] == ["file-boats"]
    assert len((await shelf.searcher.search([store], ["boat"], limit=2)).hits) == 2
    plain = await shelf.searcher.search([store], ["a boat with two masts"], limit=10, ranker="none")
    assert plain.hits[0].file_id == "file-boats"
    assert plain.hits[0].score == pytest.approx(1.0), "first in both orders"


async def test_filters_hold_for_both_ways_of_finding(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await shelved(shelf)
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


async def test_only_completed_files_are_found(shelf: Shelf) -> None:
    store = await shelved(shelf)
    job = await shelf.begun("vs_a", "file-new", "new.txt", b"A yawl has two masts as well.")
    await shelf.indexer.index(job)
    assert "file-new" not in {hit.file_id for hit in (await shelf.searcher.search([store], ["yawl"], limit=10)).hits}
    assert await shelf.searcher.content("vs_a", "file-new", after=-1, limit=10) == []
    await shelf.completed(job)
    assert (await shelf.searcher.search([store], ["yawl"], limit=10)).hits[0].file_id == "file-new"
    await shelf.completed(job, "removed")
    assert "file-new" not in {hit.file_id for hit in (await shelf.searcher.search([store], ["yawl"], limit=10)).hits}


@pytest.mark.parametrize(("blob", "expires_at"), [(None, None), ("b", 1)], ids=["deleted", "expired"])
async def test_what_is_in_a_file_that_is_gone_is_not_found(
    shelf: Shelf, blob: str | None, expires_at: int | None
) -> None:
    """Whoever took the File away may have died before it was out of its stores."""
    store = await shelved(shelf)

    async def found(limit: int = 10) -> list[str]:
        return [hit.file_id for hit in (await shelf.searcher.search([store], ["boat"], limit=limit)).hits]

    assert await found(1) == ["file-boats"]
    others = (await found())[1:]
    await shelf.pool.execute(
        "INSERT INTO files (file_id, project_id, created_at, purpose, blob, expires_at, body)"
        " VALUES ('file-boats', 'proj_default', now(), 'assistants', $1, $2, '{}')",
        *(blob, expires_at),
    )
    assert await found() == others
    assert await found(1) == others[:1], "it takes no other's place"


async def test_a_search_that_takes_too_long_says_so(make_shelf: MakeShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EmbeddingServer() as server:
        shelf = make_shelf(base_url=server.base_url, model="letters", key="k")
        store = await shelved(shelf)
        server.held.clear()
        monkeypatch.setattr(hybrid, "SEARCH_TIMEOUT", 0.1)
        with pytest.raises(SearchFailed, match=r"longer than 0\.1 seconds"):
            await shelf.searcher.search([store], ["boat"], limit=1)
        server.held.set()


async def test_long_queries_keep_their_words(shelf: Shelf) -> None:
    """More words than count: the store's own is among those that are looked up, or all would weigh nothing."""
    many = " ".join(f"word{number}" for number in range(2 * MAX_WORDS))
    await shelf.put("vs_a", "file-many", "many.txt", many.encode())
    hits = (await shelf.searcher.search([StoreRef("vs_a", shelf.indexer.model)], [many], limit=1)).hits
    assert hits[0].score > LIKENESS


async def test_several_stores(shelf: Shelf) -> None:
    store = await shelved(shelf)
    await shelf.put("vs_b", "file-foods", "foods.txt", FOODS)
    other = StoreRef("vs_b", shelf.indexer.model)
    found = await shelf.searcher.search([store, other, other], ["What is Filip's favorite food?"], limit=2)
    assert [(hit.store_id, hit.file_id) for hit in found.hits] == [("vs_a", "file-foods"), ("vs_b", "file-foods")]
    alone = await shelf.searcher.search([other], ["What is Filip's favorite food?"], limit=9)
    assert {hit.store_id for hit in alone.hits} == {"vs_b"}
