"""Implements the Searcher of `base` by hybrid search: nearest vectors and matching words in the same database.

    query ─┬─ vector ── nearest windows, exactly or by the index ─┐
           └─ words ─── chunks that hold the rarest of them ──────┴─ both measures of each ─ fused ─ ranked ─ threshold

If few vectors can match (a small store, or a filter that few files pass), all of them are compared. That is exact, and
cheaper than the index, which covers all stores and would mostly return vectors of other stores. Otherwise the index of
the model returns vector after vector until enough have matched, so a filter does not reduce recall.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

import sql
from service.database import Pool
from service.search.base import Hit, Ranker, SearchFailure, SearchResult, StoreRef
from service.search.embed.base import EmbeddingError, Vector
from service.search.embed.factory import Embedders
from service.search.fusion import Candidate, ChunkKey, RankedCandidate, fuse, rank, scale_similarities
from service.search.keywords import LOOKUP_BUDGET, MAX_WORDS, QueryWords, WeightedWord, WordLookup, weigh_words
from service.search.vector_tables import VectorTable, VectorTables
from service.search.words import LANGUAGE_WORDS, divide_query
from sql.connection import Connection

# Maximum length of a query in characters. The rest is ignored.
MAX_QUERY = 8_000
# Numbers of windows, and of chunks found by their words, that become candidates.
NEAREST = 50
WITH_WORDS = 30
# All vectors are compared if the stores have at most EXACT_CHUNKS chunks, or the matching files EXACT_WINDOWS windows,
# each with EXACT_DIMENSIONS numbers. With larger vectors the limits shrink in proportion.
EXACT_CHUNKS = 8_000
EXACT_WINDOWS = 8_000
EXACT_DIMENSIONS = 384
# Files that are read to find out whether few match.
FILES_COUNTED = 2_000
# Effort of a search in the index: the length of its list of candidates, and the vectors visited before it gives up.
EF_SEARCH = 150
MAX_SCANNED = 50_000
# Seconds that a whole search may take.
SEARCH_TIMEOUT = 30.0

_SQL = sql.queries("search")
_CHUNKS = sql.queries("chunks")


@dataclass(frozen=True, slots=True)
class NearWindow:
    """A window near the query: the chunks that share it, and its similarity to the query."""

    store_id: str
    file_id: str
    job: int
    first_chunk: int
    last_chunk: int
    similarity: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class StoreQuery:
    """One query over vector stores of one model; `where` is a jsonpath predicate over attributes."""

    stores: Sequence[str]
    query: str
    where: str | None


class PostgresSearcher:
    """A Searcher over the tables that PostgresIndexer fills."""

    def __init__(self, pool: Pool, embedders: Embedders, tables: VectorTables, *, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now
        self._embedders = embedders
        self.tables = tables

    async def search(
        self,
        stores: Sequence[StoreRef],
        queries: Sequence[str],
        *,
        limit: int,
        threshold: float = 0.0,
        where: str | None = None,
        ranker: Ranker = "auto",
    ) -> SearchResult:
        """See `Searcher.search`."""
        try:
            async with asyncio.timeout(SEARCH_TIMEOUT) as bound:
                best = await self._rank(stores, queries, where, rerank=ranker != "none")
                passing = [each for each in best if each.score >= threshold]
                return SearchResult(
                    tuple(queries), await self._load_hits([store.id for store in stores], passing, limit)
                )
        except TimeoutError as error:
            if not bound.expired():  # the pool had no free connection
                raise
            raise SearchFailure(f"The search took longer than {SEARCH_TIMEOUT:g} seconds.") from error

    async def _rank(
        self, stores: Sequence[StoreRef], queries: Sequence[str], where: str | None, *, rerank: bool
    ) -> list[RankedCandidate]:
        """Returns every chunk that a query found, with its best score, best first."""
        texts = [query[:MAX_QUERY] for query in queries]
        by_model: defaultdict[str, list[str]] = defaultdict(list)
        for store in stores:
            if store.id not in by_model[store.embedding_model]:
                by_model[store.embedding_model].append(store.id)
        best: dict[ChunkKey, RankedCandidate] = {}
        for name, ids in by_model.items():
            vectors = await self._embed_queries(name, texts)
            async with self._pool.acquire() as db:
                for text, vector in zip(texts, vectors, strict=True):
                    if vector is None:
                        continue
                    fused = fuse(await self.find_candidates(db, name, StoreQuery(ids, text, where), vector))
                    for each in rank(fused) if rerank else fused:
                        known = best.get(each.candidate.key)
                        if known is None or known.score < each.score:
                            best[each.candidate.key] = each
        return sorted(best.values(), key=lambda each: (-each.score, each.candidate.key))

    async def _load_hits(self, store_ids: Sequence[str], ranked: Sequence[RankedCandidate], limit: int) -> list[Hit]:
        """Returns the first `limit` candidates that still exist, with text and names; deleted ones are skipped."""
        hits: list[Hit] = []
        async with self._pool.acquire() as db:
            while ranked and len(hits) < limit:
                page, ranked = ranked[:limit], ranked[limit:]
                hits += await _fetch_hits(db, store_ids, page, self._now())
        return hits[:limit]

    async def chunk_texts(self, store_id: str, file_id: str, *, after: int, limit: int) -> list[str]:
        """See `Searcher.chunk_texts`."""
        async with self._pool.acquire() as db:
            return [row["text"] for row in await db.fetch(_CHUNKS["chunk_texts"], store_id, file_id, after, limit)]

    async def _embed_queries(self, name: str, queries: Sequence[str]) -> list[Vector | None]:
        """Returns a vector for each query, or None for a blank query. Raises SearchFailure."""
        filled = [query for query in queries if query.strip()]
        try:
            vectors = iter(await self._embedders.get(name).embed(filled, query=True))
        except EmbeddingError as error:
            raise SearchFailure(error.message) from error
        return [next(vectors) if query.strip() else None for query in queries]

    async def find_candidates(self, db: Connection, name: str, query: StoreQuery, vector: Vector) -> list[Candidate]:
        """Returns the nearest chunks and the chunks that have the rarest words, with both measures of each.

        `name` is the embedding model of the stores and of `vector`, which must be available here. Raises SearchFailure
        if the vector's size differs from that of the stored vectors.
        """
        table = await self.tables.find(db, name)
        if table is None:
            return []  # the model has no vectors yet, so nothing has been indexed with it
        if len(vector) != table.dimensions:
            raise SearchFailure(table.size_error(name, len(vector)))
        vector_json = orjson.dumps(list(vector)).decode()
        words, chunks = await _fetch_words(db, query)
        by_index = await should_use_index(db, table, query, chunks)
        windows = await nearest_windows(db, table, vector_json, query, by_index=by_index)
        # If a chunk has several windows, the nearest counts: it is first in the list, so it is written last here.
        similarities: dict[ChunkKey, float | None] = {
            (window.store_id, window.file_id, window.job, chunk): window.similarity
            for window in reversed(windows)
            for chunk in range(window.first_chunk, window.last_chunk + 1)
        }
        for key in await _find_by_words(db, words.lookups, query):
            similarities.setdefault(key, None)
        found = await _measure(db, table, vector_json, words.words, similarities, query.stores)
        return scale_similarities(found, self._embedders.get(name).baseline)

    async def find_by_words(self, db: Connection, stores: Sequence[str], query: str) -> list[ChunkKey]:
        """Returns the chunks of the stores that have the rarest words of the query, best first."""
        store_query = StoreQuery(stores, query, None)
        words, _ = await _fetch_words(db, store_query)
        return await _find_by_words(db, words.lookups, store_query)


async def _fetch_hits(
    db: Connection, store_ids: Sequence[str], ranked: Sequence[RankedCandidate], at: datetime
) -> list[Hit]:
    """Returns the candidates that still exist, with text and names."""
    rows = await db.fetch(
        _SQL["hits"],
        [each.candidate.store_id for each in ranked],
        [each.candidate.file_id for each in ranked],
        [each.candidate.job for each in ranked],
        [each.candidate.chunk for each in ranked],
        int(at.timestamp()),
        store_ids,
        timeout=SEARCH_TIMEOUT,
    )
    existing = {(row["store_id"], row["file_id"], row["chunk"]): row for row in rows}
    hits: list[Hit] = []
    for each in ranked:
        store_id, file_id, _, chunk = each.candidate.key
        row = existing.get((store_id, file_id, chunk))
        if row is not None:
            hits.append(
                Hit(
                    store_id=store_id,
                    file_id=file_id,
                    filename=row["filename"],
                    score=each.score,
                    attributes=orjson.loads(row["attributes"]),
                    text=row["text"],
                    position=chunk,
                    page=row["page"],
                )
            )
    return hits


async def _fetch_words(db: Connection, query: StoreQuery) -> tuple[QueryWords, int]:
    """Returns the query's words with their weights, and the number of chunks in the stores."""
    spaced, pairs = divide_query(query.query)
    rows = await db.fetch(
        _SQL["words"],
        query.stores,
        spaced,
        pairs,
        LANGUAGE_WORDS,
        MAX_WORDS,
        timeout=SEARCH_TIMEOUT,
    )
    known = [(row["lexemes"], row["chunks"]) for row in rows if row["lexemes"] is not None]
    chunks, unknown = rows[0]["store_chunks"], min(rows[0]["unknown"], MAX_WORDS)
    return weigh_words(query.stores, known, chunks, unknown), chunks


async def nearest_windows(
    db: Connection, table: VectorTable, vector_json: str, query: StoreQuery, *, by_index: bool, limit: int = NEAREST
) -> list[NearWindow]:
    """Returns the windows nearest to the vector, nearest first: approximately by the index, or exactly."""
    async with db.transaction(readonly=True):
        if by_index:
            await db.execute(_SQL["settings"], str(EF_SEARCH), str(MAX_SCANNED))
        block = _SQL["nearest"] if by_index else _SQL["exact"]
        rows = await db.fetch(table.adapt(block), vector_json, query.stores, query.where, limit, timeout=SEARCH_TIMEOUT)
    return sorted((NearWindow(**row) for row in rows), key=lambda window: -window.similarity)


async def should_use_index(db: Connection, table: VectorTable, query: StoreQuery, chunks: int) -> bool:
    """Returns False if the table has no index, or if so few vectors can match that comparing all of them is better."""
    return (
        table.has_index
        and not _is_exact_cheap(table, chunks, EXACT_CHUNKS)
        and not await _has_few_matches(db, table, query)
    )


def _is_exact_cheap(table: VectorTable, vectors: int, limit: int) -> bool:
    return vectors * table.dimensions <= limit * EXACT_DIMENSIONS


async def _has_few_matches(db: Connection, table: VectorTable, query: StoreQuery) -> bool:
    """Whether the filter matches so few vectors that comparing all of them is better than the index."""
    if query.where is None:
        return False
    row = await db.fetchrow(_SQL["matching_windows"], query.stores, query.where, FILES_COUNTED)
    return row is not None and row["files"] < FILES_COUNTED and _is_exact_cheap(table, row["windows"], EXACT_WINDOWS)


async def _find_by_words(db: Connection, lookups: Sequence[WordLookup], query: StoreQuery) -> list[ChunkKey]:
    if not lookups:
        return []
    rows = await db.fetch(
        _SQL["with_words"],
        [word.query for word in lookups],
        [word.weight for word in lookups],
        LOOKUP_BUDGET,
        query.where,
        WITH_WORDS,
        query.stores,
        timeout=SEARCH_TIMEOUT,
    )
    return [(row["store_id"], row["file_id"], row["job"], row["chunk"]) for row in rows]


async def _measure(
    db: Connection,
    table: VectorTable,
    vector_json: str,
    words: Sequence[WeightedWord],
    similarities: Mapping[ChunkKey, float | None],
    store_ids: Sequence[str],
) -> list[Candidate]:
    """Returns the chunks with both measures; the database computes the similarities that are None."""
    if not similarities:
        return []
    rows = await db.fetch(
        table.adapt(_SQL["measure"]),
        vector_json,
        [stem for word in words for stem in word.stems],
        [word.weight for word in words for _ in word.stems],
        [store_id for store_id, _, _, _ in similarities],
        [file_id for _, file_id, _, _ in similarities],
        [job for _, _, job, _ in similarities],
        [chunk for _, _, _, chunk in similarities],
        list(similarities.values()),
        [number for number, word in enumerate(words) for _ in word.stems],
        store_ids,
        timeout=SEARCH_TIMEOUT,
    )
    return [Candidate(**row) for row in rows]
