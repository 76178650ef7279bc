"""file_search, and v1's retrieval: searches the vector stores of the run and of its thread.

A search waits for the thread's stores, because what a message brought may still be being indexed. What the model is
shown of each result is what the step shows: what does not fit is no result. Each passage comes with its marker, which
the model is asked to cite with; the run turns those that it writes into citations.
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
from service.tools.quotes import quote

# Seconds that a search waits for the thread's stores to be indexed.
PATIENCE_S = 60.0
# Results of a search, where the tool's settings do not say; the second for models whose window is small.
RESULTS, RESULTS_SMALL = 20, 5
# Results of one search at most; a searcher gives no more.
MAX_RESULTS = 50
SMALL_MODELS = "gpt-3.5"
# Queries of one call; those beyond are left out.
MAX_QUERIES = 5
# Characters that passages take of the prompt at most: some 16,000 tokens; a quarter of it for models of small window.
MAX_INJECTED, MAX_INJECTED_SMALL = 64_000, 16_000
# A passage that would be cut to less than this is left out.
MIN_PASSAGE = 200

CITE = (
    f"Passages that file_search finds come with a marker such as {citation_marker(0, 0, 'report.pdf')}. Where your"
    " answer uses a passage, put its marker, unchanged, right behind the statement that rests on it. Never invent a"
    " marker."
)
NO_STORES = "There are no files to search in this conversation."
EXPIRED = "The vector store '{id}' of this thread has expired, so its files cannot be searched any more."
PARAMETERS = {
    "type": "object",
    "properties": {"queries": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
    "required": ["queries"],
}


@dataclass(frozen=True, slots=True)
class SearchedStore:
    """A store as the tool sees it. `indexing`: some of its files cannot be searched yet; `empty`: none can."""

    id: str
    model: str
    expired: bool
    indexing: bool
    empty: bool


class SearchedStores(Protocol):
    async def look(self, project_id: str, store_ids: Sequence[str]) -> Sequence[SearchedStore]:
        """Those of the stores that are there."""
        ...

    async def settled(self, project_id: str, store_ids: Sequence[str], patience_s: float) -> None:
        """Waits until all files of the stores are indexed or have failed, no longer than that."""
        ...

    async def use(self, project_id: str, store_ids: Sequence[str]) -> None:
        """Counts as a use of the stores, which moves their expiry."""
        ...


class FileSearch:
    """A HostedTool."""

    type: ToolType = "file_search"
    after_crash: CrashPolicy = "again"
    off: str | None = None
    description = (
        "Searches the files that were given to this conversation, by meaning and by words. Write each query as a whole"
        " question or phrase in the language of the files; give several for several topics."
    )
    parameters: Json = PARAMETERS

    def __init__(self, searcher: Searcher, stores: SearchedStores) -> None:
        self._searcher = searcher
        self._stores = stores

    async def brief(self, run: HostedRun) -> str:
        """How to cite. Raises ToolUnusable where a store of the thread has expired."""
        there = await self._stores.look(run.project_id, _named(run))
        _check(run, there)
        return CITE if there else NO_STORES

    async def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        run, queries = call.run, _queries(call.arguments)
        if not queries:
            yield ToolResult('The search was not made: {"queries": ["…"]} is expected.', failed=True)
            return
        await self._wait(run)
        there = await self._stores.look(run.project_id, _named(run))
        _check(run, there)
        usable = [store for store in there if not store.expired]
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
        await self._stores.use(run.project_id, [store.id for store in usable])
        late = [store.id for store in usable if store.indexing]
        yield told(call, queries, new_first(found.hits)[:limit], late=bool(late))

    async def _wait(self, run: HostedRun) -> None:
        """For the thread's stores, and for those in which nothing can be found yet, as where v1 has just made one."""
        mine = set(_of_thread(run))
        there = await self._stores.look(run.project_id, _named(run))
        late = [store.id for store in there if store.indexing and (store.id in mine or store.empty)]
        await self._stores.settled(run.project_id, late, PATIENCE_S)


def new_first(hits: Sequence[Hit]) -> list[Hit]:
    """What is found twice, because the assistant's store and the thread's both have the file, takes no other's place.

    The original shows it twice, where there is room for it.
    """
    seen: set[tuple[str, str]] = set()
    new: list[Hit] = []
    again: list[Hit] = []
    for hit in hits:
        (again if (hit.file_id, hit.text) in seen else new).append(hit)
        seen.add((hit.file_id, hit.text))
    return new + again


def told(call: HostedCall, queries: Sequence[str], hits: Sequence[Hit], *, late: bool = False) -> ToolResult:
    """The result of a search: what the model sees, and what the step shows, is as much as there is room for."""
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
    """What the model asked for, also where it wrote one query in place of a list. Postgres takes no NUL."""
    given = arguments.get("queries") or arguments.get("query") or []
    listed = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    told = (query.replace("\0", " ") for query in listed if isinstance(query, str))
    return [query for query in told if query.strip()][:MAX_QUERIES]


def _of_thread(run: HostedRun) -> list[str]:
    return list((run.thread_resources.get("file_search") or {}).get("vector_store_ids") or ())


def _named(run: HostedRun) -> list[str]:
    """The run's stores, then the thread's, each once."""
    of_run = (run.run_resources.get("file_search") or {}).get("vector_store_ids") or ()
    return list(dict.fromkeys([*of_run, *_of_thread(run)]))


def _check(run: HostedRun, there: Sequence[SearchedStore]) -> None:
    mine = set(_of_thread(run))
    for store in there:
        if store.expired and store.id in mine:
            raise ToolUnusable(EXPIRED.format(id=store.id))


def _small(run: HostedRun) -> bool:
    return run.model.startswith(SMALL_MODELS)


def _ranker(named: object) -> Ranker:
    return "none" if named == "none" else "auto"
