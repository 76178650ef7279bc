"""file_search, and v1's retrieval: searches the vector stores of the run and of its thread.

A search waits for the thread's stores, because the files of a message may still be indexed. The model and the step get
the same results: a passage that does not fit into the prompt is not a result. Each passage has a marker, and the model
is asked to cite with it; the run turns the markers in the model's text into citations.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.search.base import Hit, Ranker, Searcher, SearchFailure, StoreRef
from service.tools.base import (
    Citation,
    CrashPolicy,
    HostedCall,
    HostedRun,
    Json,
    Piece,
    ToolResult,
    ToolType,
    ToolUnusable,
)
from service.tools.citation_markers import citation_marker
from service.tools.hosted_functions import SEARCH_DESCRIPTION, SEARCH_PARAMETERS
from service.tools.quotes import quote

# Seconds that a search waits until the thread's stores are indexed.
PATIENCE_S = 60.0
# Number of results if the tool's settings give none; the second is for models with a small window.
RESULTS, RESULTS_SMALL = 20, 5
# Maximum number of results of one search.
MAX_RESULTS = 50
SMALL_MODELS = "gpt-3.5"
# Maximum number of queries of one call; the others are dropped.
MAX_QUERIES = 5
# Maximum characters of passages in the prompt, about 16,000 tokens; a quarter of that for models with a small window.
MAX_INJECTED, MAX_INJECTED_SMALL = 64_000, 16_000
# A passage that would be cut to less than this is dropped.
MIN_PASSAGE = 200

CITE = (
    f"Passages that file_search finds come with a marker such as {citation_marker(0, 0, 'report.pdf')}. Where your"
    " answer uses a passage, put its marker, unchanged, right behind the statement that rests on it. Never invent a"
    " marker."
)
NO_STORES = "There are no files to search in this conversation."
EXPIRED = "The vector store '{id}' of this thread has expired, so its files cannot be searched any more."


@dataclass(frozen=True, slots=True)
class SearchedStore:
    """A store as the tool sees it.

    `is_indexing` says that some of its files cannot be searched yet, `is_empty` that none of them can.
    """

    id: str
    model: str
    is_expired: bool
    is_indexing: bool
    is_empty: bool


class SearchedStores(Protocol):
    async def find(self, project_id: str, store_ids: Sequence[str]) -> Sequence[SearchedStore]:
        """Returns those of the stores that exist."""
        ...

    async def wait_until_indexed(self, project_id: str, store_ids: Sequence[str], patience_s: float) -> None:
        """Waits until all files of the stores are indexed or have failed, but at most that long."""
        ...

    async def record_use(self, project_id: str, store_ids: Sequence[str]) -> None:
        """Records a use of the stores, which postpones their expiry."""
        ...


class FileSearch:
    """The HostedTool for both types."""

    type: ToolType = "file_search"
    after_crash: CrashPolicy = "again"
    unavailable_reason: str | None = None
    description = SEARCH_DESCRIPTION
    parameters: Json = SEARCH_PARAMETERS

    def __init__(self, searcher: Searcher, stores: SearchedStores) -> None:
        self._searcher = searcher
        self._stores = stores

    async def brief(self, run: HostedRun) -> str:
        """Returns the rules for citations. Raises ToolUnusable if a store of the thread has expired."""
        there = await self._stores.find(run.project_id, _store_ids(run))
        _check(run, there)
        return CITE if there else NO_STORES

    async def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        run, queries = call.run, _queries(call.arguments)
        if not queries:
            yield ToolResult('The search was not made: {"queries": ["…"]} is expected.', failed=True)
            return
        await self._wait(run)
        there = await self._stores.find(run.project_id, _store_ids(run))
        _check(run, there)
        usable = [store for store in there if not store.is_expired]
        options = run.settings.get("file_search") or {}
        ranking = options.get("ranking_options") or {}
        limit = options.get("max_num_results") or (RESULTS_SMALL if _small(run) else RESULTS)
        try:
            found = await self._searcher.search(
                [StoreRef(store.id, store.model) for store in usable],
                queries,
                limit=min(limit * max(1, len(usable)), MAX_RESULTS),
                threshold=float(ranking.get("score_threshold") or 0.0),
                ranker=_ranker(ranking.get("ranker")),
            )
        except SearchFailure as error:
            yield ToolResult(f"The search failed: {error.message}", failed=True)
            return
        await self._stores.record_use(run.project_id, [store.id for store in usable])
        late = [store.id for store in usable if store.is_indexing]
        yield build_result(call, queries, new_first(found.hits)[:limit], late=bool(late))

    async def _wait(self, run: HostedRun) -> None:
        """Waits for the thread's stores, and for stores in which nothing can be found yet, such as a new one of v1."""
        mine = set(_of_thread(run))
        there = await self._stores.find(run.project_id, _store_ids(run))
        late = [store.id for store in there if store.is_indexing and (store.id in mine or store.is_empty)]
        await self._stores.wait_until_indexed(run.project_id, late, PATIENCE_S)


def new_first(hits: Sequence[Hit]) -> list[Hit]:
    """Drops second copies of a result, so that they take no place. A file may be in the assistant's and the thread's
    store.

    The original returns both copies if there is room.
    """
    seen: set[tuple[str, str]] = set()
    new: list[Hit] = []
    again: list[Hit] = []
    for hit in hits:
        (again if (hit.file_id, hit.text) in seen else new).append(hit)
        seen.add((hit.file_id, hit.text))
    return new + again


def build_result(call: HostedCall, queries: Sequence[str], hits: Sequence[Hit], *, late: bool = False) -> ToolResult:
    """Returns the results that fit into the prompt, for the model and the step alike."""
    room = min(call.room, MAX_INJECTED_SMALL if _small(call.run) else MAX_INJECTED)
    parts = ["Some files are still being indexed and were not searched.\n"] if late else []
    results: list[dict[str, Any]] = []
    citations: list[Citation] = []
    left = room - sum(map(len, parts)) - MIN_PASSAGE
    for hit in hits:
        marker = citation_marker(call.number, len(results), hit.filename)
        page = f" (page {hit.page})" if hit.page is not None else ""
        text = hit.text[: max(0, left - len(marker) - len(page) - 3)]
        if len(text) < min(len(hit.text), MIN_PASSAGE):
            break
        parts.append(f"{marker}{page}\n{text}\n")
        left -= len(parts[-1]) + 1
        results.append(
            {
                "file_id": hit.file_id,
                "file_name": hit.filename,
                "score": hit.score,
                "attributes": dict(hit.attributes),
                "content": [{"type": "text", "text": text}],
            }
        )
        citations.append(Citation(marker, hit.file_id, quote(text, queries)))
    if not results:
        parts.append("Nothing was found.")
    return ToolResult("\n".join(parts), results=results, citations=citations)


def _queries(arguments: Json) -> list[str]:
    """Returns the model's queries, and accepts a single text instead of a list. Postgres accepts no NUL."""
    given = arguments.get("queries") or arguments.get("query") or []
    listed = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    texts = (query.replace("\0", " ") for query in listed if isinstance(query, str))
    return [query for query in texts if query.strip()][:MAX_QUERIES]


def _of_thread(run: HostedRun) -> list[str]:
    return list((run.thread_resources.get("file_search") or {}).get("vector_store_ids") or ())


def _store_ids(run: HostedRun) -> list[str]:
    """Returns the run's stores, then the thread's, without duplicates."""
    of_run = (run.run_resources.get("file_search") or {}).get("vector_store_ids") or ()
    return list(dict.fromkeys([*of_run, *_of_thread(run)]))


def _check(run: HostedRun, there: Sequence[SearchedStore]) -> None:
    mine = set(_of_thread(run))
    for store in there:
        if store.is_expired and store.id in mine:
            raise ToolUnusable(EXPIRED.format(id=store.id))


def _small(run: HostedRun) -> bool:
    return run.model.startswith(SMALL_MODELS)


def _ranker(named: object) -> Ranker:
    return "none" if named == "none" else "auto"
