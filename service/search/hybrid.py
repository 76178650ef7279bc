"""Hybrid search over our own tables: the Searcher of `base`.

    query ─┬─ vector ── nearest windows, exactly or by the index ─┐
           └─ words ─── chunks that hold the rarest of them ──────┴─ both measures of each ─ fused ─ ranked ─ threshold

Where few vectors can match (a small store, or a filter that few files pass) all of them are compared: that is exact,
and cheaper than an index over all stores, which would come by mostly others' vectors. Else the index of the model gives
one vector after the other until enough have matched, so that no filter costs recall.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

import sql
from service.database import Pool
from service.search.base import Found, Hit, Ranker, SearchFailed, StoreRef
from service.search.embed.base import EmbeddingError, Vector
from service.search.embed.factory import Embedders
from service.search.fusion import Candidate, Place, Ranked, fuse, rank
from service.search.keywords import BUDGET, MAX_WORDS, Chosen, Word, choose
from service.search.vector_tables import Model, Models
from sql.connection import Connection

# Characters of a query that count.
MAX_QUERY = 8_000
# Windows, and chunks with words, that become candidates.
NEAREST = 50
WITH_WORDS = 30
# Up to so many chunks of the stores, or windows of matching files, all vectors are compared; of larger vectors up to as
# many numbers.
EXACT_CHUNKS = 8_000
EXACT_WINDOWS = 8_000
EXACT_DIMENSIONS = 384
# Files looked at to find out whether few match.
FILES_COUNTED = 2_000
# How thoroughly the index is searched: its list of candidates, and the vectors visited before it gives up.
EF_SEARCH = 150
MAX_SCANNED = 50_000
# Seconds that a whole search may take.
SEARCH_TIMEOUT = 30.0

_SQL = sql.queries("search")
_CHUNKS = sql.queries("chunks")
_Key = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """A vector's place: the window of these chunks; and how alike it is to the query."""

    store_id: str
    file_id: str
    job: int
    first_chunk: int
    last_chunk: int
    likeness: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """One query over stores of one model; `where` is a jsonpath predicate over attributes."""

    stores: Sequence[str]
    query: str
    where: str | None


class StoredSearcher:
    """A Searcher over the tables that StoredIndexer fills."""

    def __init__(self, pool: Pool, embedders: Embedders, models: Models) -> None:
        self._pool = pool
        self._embedders = embedders
        self.models = models

    async def search(
        self,
        stores: Sequence[StoreRef],
        queries: Sequence[str],
        *,
        limit: int,
        threshold: float = 0.0,
        where: str | None = None,
        ranker: Ranker = "auto",
    ) -> Found:
        """See `Searcher.search`."""
        try:
            async with asyncio.timeout(SEARCH_TIMEOUT) as bound:
                best = await self._best(stores, queries, where, ranked=ranker != "none")
                kept = [one for one in best if one.score >= threshold]
                return Found(tuple(queries), await self._hits(kept, limit))
        except TimeoutError as error:
            if not bound.expired():  # no connection could be had
                raise
            raise SearchFailed(f"The search took longer than {SEARCH_TIMEOUT:g} seconds.") from error

    async def _best(
        self, stores: Sequence[StoreRef], queries: Sequence[str], where: str | None, *, ranked: bool
    ) -> list[Ranked]:
        """Of each chunk that a query finds its best score, best first."""
        asked = [query[:MAX_QUERY] for query in queries]
        by_model: defaultdict[str, list[str]] = defaultdict(list)
        for store in stores:
            if store.id not in by_model[store.embedding_model]:
                by_model[store.embedding_model].append(store.id)
        best: dict[Place, Ranked] = {}
        for name, ids in by_model.items():
            vectors = await self._vectors(name, asked)
            async with self._pool.acquire() as db:
                for query, vector in zip(asked, vectors, strict=True):
                    if vector is None:
                        continue
                    fused = fuse(await self.candidates(db, name, Asked(ids, query, where), vector))
                    for one in rank(fused) if ranked else fused:
                        known = best.get(one.candidate.place)
                        if known is None or known.score < one.score:
                            best[one.candidate.place] = one
        return sorted(best.values(), key=lambda one: (-one.score, one.candidate.place))

    async def _hits(self, found: Sequence[Ranked], limit: int) -> list[Hit]:
        """The first `limit` that are still there, with text and names: what went in the meantime takes no place."""
        hits: list[Hit] = []
        async with self._pool.acquire() as db:
            while found and len(hits) < limit:
                some, found = found[:limit], found[limit:]
                hits += await _shown(db, some)
        return hits[:limit]

    async def content(self, store_id: str, file_id: str, *, after: int, limit: int) -> list[str]:
        """See `Searcher.content`."""
        async with self._pool.acquire() as db:
            return [row["text"] for row in await db.fetch(_CHUNKS["content"], store_id, file_id, after, limit)]

    async def _vectors(self, name: str, queries: Sequence[str]) -> list[Vector | None]:
        """Of each query that is not blank. Raises SearchFailed."""
        told = [query for query in queries if query.strip()]
        try:
            made = iter(await self._embedders.named(name).embed(told, query=True))
        except EmbeddingError as error:
            raise SearchFailed(error.message) from error
        return [next(made) if query.strip() else None for query in queries]

    async def candidates(self, db: Connection, name: str, asked: Asked, vector: Vector) -> list[Candidate]:
        """What is worth a look, by both measures."""
        model = await self.models.find(db, name)
        if model is None:
            return []  # the model has no vectors yet, so nothing has been indexed with it
        if len(vector) != model.dimensions:
            raise SearchFailed(model.changed(name, len(vector)))
        told = orjson.dumps(list(vector)).decode()
        chosen, chunks = await _words(db, asked)
        windows = await near(db, model, told, asked, by_index=await by_index(db, model, asked, chunks))
        # The nearest of a chunk's windows counts: it comes first, and so is the last to be put in.
        keys: dict[_Key, float | None] = {
            (window.store_id, window.file_id, window.job, chunk): window.likeness
            for window in reversed(windows)
            for chunk in range(window.first_chunk, window.last_chunk + 1)
        }
        for key in await _with_words(db, chosen.lookups, asked):
            keys.setdefault(key, None)
        return await _judged(db, model, told, chosen.words, keys)


async def _shown(db: Connection, found: Sequence[Ranked]) -> list[Hit]:
    """The same with text and names, as far as they are still there."""
    columns = [list(column) for column in zip(*(one.candidate.place for one in found), strict=True)]
    rows = await db.fetch(_SQL["shown"], *columns, int(time.time()), timeout=SEARCH_TIMEOUT)
    shown = {(row["store_id"], row["file_id"], row["chunk"]): row for row in rows}
    hits: list[Hit] = []
    for one in found:
        store_id, file_id, _, chunk = one.candidate.place
        row = shown.get((store_id, file_id, chunk))
        if row is not None:
            what = (row["filename"], one.score, orjson.loads(row["attributes"]), row["text"])
            hits.append(Hit(store_id, file_id, *what, position=chunk, page=row["page"]))
    return hits


async def _words(db: Connection, asked: Asked) -> tuple[Chosen, int]:
    """The query's words, and how many chunks the stores have."""
    rows = await db.fetch(_SQL["words"], asked.stores, asked.query, MAX_WORDS + len(asked.stores))
    chunks = sum(row["chunks"] for row in rows if row["is_store"])
    known = [(row["word"], row["chunks"]) for row in rows if not row["is_store"]]
    unknown = rows[0]["asked"] - len(known) if rows else 0
    return choose(asked.stores, known, chunks, min(unknown, MAX_WORDS)), chunks


async def near(
    db: Connection, model: Model, told: str, asked: Asked, *, by_index: bool, limit: int = NEAREST
) -> list[Window]:
    """The nearest windows to the vector `told`, roughly in order; by the index, or exactly."""
    async with db.transaction(readonly=True):
        if by_index:
            await db.execute(_SQL["settings"], str(EF_SEARCH), str(MAX_SCANNED))
        block = _SQL["nearest"] if by_index else _SQL["exact"]
        rows = await db.fetch(model.adapt(block), told, asked.stores, asked.where, limit, timeout=SEARCH_TIMEOUT)
    return sorted((Window(*row) for row in rows), key=lambda window: -window.likeness)


async def by_index(db: Connection, model: Model, asked: Asked, chunks: int) -> bool:
    """Whether the index is worth it, or so few vectors can match that all of them are best compared."""
    return model.indexed and not _cheap(model, chunks, EXACT_CHUNKS) and not await _few(db, model, asked)


def _cheap(model: Model, vectors: int, most: int) -> bool:
    return vectors * model.dimensions <= most * EXACT_DIMENSIONS


async def _few(db: Connection, model: Model, asked: Asked) -> bool:
    """Whether a filter lets so little through that all of it is best compared."""
    if asked.where is None:
        return False
    row = await db.fetchrow(_SQL["matching_windows"], asked.stores, asked.where, FILES_COUNTED)
    return row is not None and row["files"] < FILES_COUNTED and _cheap(model, row["windows"], EXACT_WINDOWS)


async def _with_words(db: Connection, lookups: Sequence[Word], asked: Asked) -> list[_Key]:
    if not lookups:
        return []
    columns = [word.query for word in lookups], [word.weight for word in lookups]
    rows = await db.fetch(_SQL["with_words"], *columns, BUDGET, asked.where, WITH_WORDS, timeout=SEARCH_TIMEOUT)
    return [(row["store_id"], row["file_id"], row["job"], row["chunk"]) for row in rows]


async def _judged(
    db: Connection, model: Model, told: str, words: Sequence[Word], keys: Mapping[_Key, float | None]
) -> list[Candidate]:
    """Both measures of each chunk; the likeness of those that are near is known."""
    if not keys:
        return []
    columns = [list(column) for column in zip(*((*key, likeness) for key, likeness in keys.items()), strict=True)]
    weights = [word.query for word in words], [word.weight for word in words]
    rows = await db.fetch(model.adapt(_SQL["judge"]), told, *weights, *columns, timeout=SEARCH_TIMEOUT)
    return [Candidate(*row) for row in rows]
