"""Hybrid search over our own tables: the Searcher of `base`.

    query ─┬─ vector ── nearest windows, exactly or by the index ─┐
           └─ words ─── chunks that hold the rarest of them ──────┴─ both measures of each ─ fused ─ ranked ─ threshold

Where few vectors can match (a small store, or a filter that few files pass) all of them are compared: that is exact,
and cheaper than an index over all stores, which would come by mostly others' vectors. Else the index of the model gives
one vector after the other until enough have matched, so that no filter costs recall.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

import sql
from service.database import Connection, Pool
from service.vectors.base import Found, Hit, Ranker, SearchFailed, StoreRef
from service.vectors.embed.base import EmbeddingError, Vector
from service.vectors.embed.choose import Embedders
from service.vectors.fuse import Candidate, Place, Ranked, fuse, rank
from service.vectors.keywords import BUDGET, MAX_WORDS, Word, choose
from service.vectors.models import Model, Models

# Queries of one search; more are left out.
MAX_QUERIES = 8
# Characters of a query that count.
MAX_QUERY = 8_000
# Windows, and chunks with words, that become candidates.
NEAREST = 100
WITH_WORDS = 100
# Up to so many chunks of the stores, or windows of matching files, all vectors are compared: about 5 ms.
EXACT_CHUNKS = 2_500
EXACT_WINDOWS = 5_000
# Files looked at to find out whether few match.
FILES_COUNTED = 2_000
# How thoroughly the index is searched: its list of candidates, and the vectors visited before it gives up.
EF_SEARCH = 120
MAX_SCANNED = 50_000
SEARCH_TIMEOUT = 30.0

_SQL = sql.queries("search")
_CHUNKS = sql.queries("chunks")
_Key = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class _Row:
    """A candidate with what is shown of it."""

    candidate: Candidate
    text: str
    page: int | None
    filename: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    stores: Sequence[str]
    query: str
    where: str | None


class StoredSearcher:
    """A Searcher over the tables that StoredIndexer fills."""

    def __init__(self, pool: Pool, embedders: Embedders, models: Models) -> None:
        self._pool = pool
        self._embedders = embedders
        self._models = models

    async def search(
        self,
        stores: Sequence[StoreRef],
        queries: Sequence[str],
        *,
        limit: int,
        threshold: float = 0.0,
        where: str | None = None,
        ranker: Ranker = "auto",
        rewrite: bool = False,
    ) -> Found:
        """See `Searcher.search`. Queries are searched as they are: see docs/file-search.md on rewriting."""
        asked = [query[:MAX_QUERY] for query in queries[:MAX_QUERIES]]
        by_model: defaultdict[str, list[str]] = defaultdict(list)
        for store in stores:
            if store.id not in by_model[store.embedding_model]:
                by_model[store.embedding_model].append(store.id)
        best: dict[Place, tuple[Ranked, _Row]] = {}
        for name, ids in by_model.items():
            vectors = await self._vectors(name, asked)
            async with self._pool.acquire() as db:
                for query, vector in zip(asked, vectors, strict=True):
                    for ranked, row in await self._one(db, name, _Asked(ids, query, where), vector, ranker):
                        place = ranked.candidate.place
                        if place not in best or best[place][0].score < ranked.score:
                            best[place] = (ranked, row)
        kept = [(ranked, row) for ranked, row in best.values() if ranked.score >= threshold]
        kept.sort(key=lambda pair: (-pair[0].score, pair[0].candidate.place))
        return Found(tuple(queries), [_hit(ranked, row) for ranked, row in kept[:limit]])

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

    async def _one(
        self, db: Connection, name: str, asked: _Asked, vector: Vector | None, ranker: Ranker
    ) -> list[tuple[Ranked, _Row]]:
        """One query over stores of one model, best first."""
        model = await self._models.find(db, name)
        if model is None or vector is None:
            return []  # the model has no vectors yet, so nothing has been indexed with it
        if len(vector) != model.dimensions:
            raise SearchFailed(model.changed(name, len(vector)))
        told = orjson.dumps(list(vector)).decode()
        words, chunks = await _words(db, asked)
        keys = await _near(db, model, told, asked, chunks)
        keys |= await _with_words(db, words, asked)
        rows = await _judged(db, model, told, words, sorted(keys))
        fused = fuse([row.candidate for row in rows.values()])
        return [(one, rows[one.candidate.place]) for one in (fused if ranker == "none" else rank(fused))]


async def _words(db: Connection, asked: _Asked) -> tuple[list[Word], int]:
    """The query's words, and how many chunks the stores have."""
    rows = await db.fetch(_SQL["words"], asked.stores, asked.query, MAX_WORDS + len(asked.stores))
    chunks = sum(row["chunks"] for row in rows if row["is_store"])
    known = [(row["word"], row["chunks"]) for row in rows if not row["is_store"]]
    unknown = rows[0]["asked"] - len(known) if rows else 0
    return choose(asked.stores, known, chunks, min(unknown, MAX_WORDS)), chunks


async def _near(db: Connection, model: Model, told: str, asked: _Asked, chunks: int) -> set[_Key]:
    """The chunks of the nearest windows."""
    by_index = model.indexed and chunks > EXACT_CHUNKS and not await _few(db, asked)
    async with db.transaction(readonly=True):
        if by_index:
            await db.execute(_SQL["settings"], str(EF_SEARCH), str(MAX_SCANNED))
        block = _SQL["nearest"] if by_index else _SQL["exact"]
        rows = await db.fetch(model.adapt(block), told, asked.stores, asked.where, NEAREST, timeout=SEARCH_TIMEOUT)
    return {
        (row["store_id"], row["file_id"], row["job"], chunk)
        for row in rows
        for chunk in range(row["first_chunk"], row["last_chunk"] + 1)
    }


async def _few(db: Connection, asked: _Asked) -> bool:
    """Whether a filter lets so little through that all of it is best compared."""
    if asked.where is None:
        return False
    row = await db.fetchrow(_SQL["matching_windows"], asked.stores, asked.where, FILES_COUNTED)
    return row is not None and row["files"] < FILES_COUNTED and row["windows"] <= EXACT_WINDOWS


async def _with_words(db: Connection, words: Sequence[Word], asked: _Asked) -> set[_Key]:
    looked_up = [word for word in words if word.looked_up]
    if not looked_up:
        return set()
    columns = [word.query for word in looked_up], [word.weight for word in looked_up]
    rows = await db.fetch(_SQL["with_words"], *columns, BUDGET, asked.where, WITH_WORDS, timeout=SEARCH_TIMEOUT)
    return {(row["store_id"], row["file_id"], row["job"], row["chunk"]) for row in rows}


async def _judged(
    db: Connection, model: Model, told: str, words: Sequence[Word], keys: Sequence[_Key]
) -> dict[Place, _Row]:
    """Both measures of each chunk, and what is shown of it."""
    columns = [list(column) for column in zip(*keys, strict=True)] or [[], [], [], []]
    weights = [word.query for word in words], [word.weight for word in words]
    rows = await db.fetch(model.adapt(_SQL["judge"]), told, *weights, *columns, timeout=SEARCH_TIMEOUT)
    made = (
        _Row(
            Candidate(row["store_id"], row["file_id"], row["chunk"], row["likeness"], row["found"]),
            row["text"],
            row["page"],
            row["filename"],
            orjson.loads(row["attributes"]),
        )
        for row in rows
    )
    return {row.candidate.place: row for row in made}


def _hit(ranked: Ranked, row: _Row) -> Hit:
    one = ranked.candidate
    return Hit(
        one.store_id,
        one.file_id,
        row.filename,
        ranked.score,
        row.attributes,
        row.text,
        position=one.chunk,
        page=row.page,
    )
