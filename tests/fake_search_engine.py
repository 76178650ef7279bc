"""A search engine over a dictionary, in which the name of a file determines the outcome of indexing it.

It follows the rules of `service.search.base`: it writes chunks only while the view's row of the file names their job,
and finds only the chunks of completed files.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import orjson

from service.database import Pool
from service.search.base import (
    Hit,
    IndexingFailure,
    IndexingJob,
    IndexingResult,
    Ranker,
    RevokedJob,
    SearchResult,
    StoreRef,
)
from service.search.parse.types import format_of

WAIT_S = 20.0
CHUNK_BYTES = 100
IS_IN_PROGRESS = (
    "SELECT FROM vector_store_files WHERE store_id = $1 AND file_id = $2 AND job = $3 AND status = 'in_progress'"
)
COMPLETED = """
SELECT filename, attributes FROM vector_store_files
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND status = 'completed'
  AND ($4::text IS NULL OR attributes @@ $4::jsonpath)
"""
JOB = """
SELECT job FROM vector_store_files
WHERE store_id = $1 AND file_id = $2 AND status IN ('in_progress', 'completed')
"""


@dataclass
class FakeSearchEngine:
    """A SearchEngine that is its own Indexer and Searcher.

    File names: `bad…` is invalid, `odd…` turns out to be unsupported, `slow…` waits for `release`, the first attempt at
    `flaky…` and every attempt at `crash…` raises RuntimeError, and any other file is chunked. The endings of names that
    can be attached are those of the real parser. `started` and `ended` hold pairs (file name, job number), and
    `previous` the number of the job that each started job continues. `most` is the greatest number of files
    that were indexed at the same time.
    """

    pool: Pool | None = None
    embedding_model: str = "fake-embeddings"
    started: list[tuple[str, int]] = field(default_factory=list)
    previous: list[int | None] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    chunks: dict[tuple[str, str], dict[int, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    removed: list[tuple[str, Collection[str] | None]] = field(default_factory=list)
    searches: list[dict[str, object]] = field(default_factory=list)
    most: int = 0
    _flaky: set[str] = field(default_factory=set)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, pool: Pool) -> FakeSearchEngine:
        """Returns this engine, which from now on uses the pool of the server that was started last."""
        self.pool = pool
        return self

    @property
    def indexer(self) -> FakeSearchEngine:
        return self

    @property
    def searcher(self) -> FakeSearchEngine:
        return self

    @property
    def _db(self) -> Pool:
        assert self.pool is not None, "no server has been started"
        return self.pool

    def can_index(self, filename: str) -> bool:
        return format_of(filename) is not None

    async def close(self) -> None:
        """Keeps the chunks, for the next server."""

    def release(self) -> None:
        self._released.set()

    async def until_started(self, count: int) -> None:
        """Waits until `count` attempts have begun."""
        async with asyncio.timeout(WAIT_S):
            while len(self.started) < count:
                self._changed.clear()
                await self._changed.wait()

    async def index(self, job: IndexingJob) -> IndexingResult:
        self.started.append((job.filename, job.number))
        self.previous.append(job.previous)
        self.most = max(self.most, len(self.started) - len(self.ended))
        self._changed.set()
        try:
            return await self._index(job)
        finally:
            self.ended.append((job.filename, job.number))

    async def _index(self, job: IndexingJob) -> IndexingResult:
        text = b"".join([piece async for piece in job.read()]).decode()
        if job.filename.startswith("slow"):
            await self._released.wait()
        if job.filename.startswith("bad"):
            raise IndexingFailure("invalid_file", "The file could not be parsed.")
        if job.filename.startswith("odd"):
            raise IndexingFailure("unsupported_file", "The file type is not supported.")
        if job.filename.startswith("crash") or (job.filename.startswith("flaky") and job.filename not in self._flaky):
            self._flaky.add(job.filename)
            raise RuntimeError("the indexer broke")
        async with self._db.acquire() as db:
            if (
                await db.fetchval(f"SELECT EXISTS ({IS_IN_PROGRESS})", job.store_id, job.file_id, job.number)
                is not True
            ):
                raise RevokedJob
        parts = [text[start : start + CHUNK_BYTES] for start in range(0, len(text), CHUNK_BYTES)]
        self.chunks[job.store_id, job.file_id] = {job.number: parts}
        return IndexingResult(usage_bytes=len(text), chunks=len(parts))

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        self.removed.append((store_id, file_ids))
        for store, file in list(self.chunks):
            if store == store_id and (file_ids is None or file in file_ids):
                await self._clear(store, file)

    async def sweep(self) -> None:
        for store, file in list(self.chunks):
            await self._clear(store, file)

    async def renew_words(self) -> int:
        return 0

    async def _clear(self, store: str, file: str) -> None:
        job = await self._db.fetchval(JOB, store, file)
        jobs = self.chunks.pop((store, file))
        if job in jobs:
            self.chunks[store, file] = {job: jobs[job]}

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
        """Scores a chunk by the share of the queries' words that it has."""
        self.searches.append({"stores": list(stores), "queries": list(queries), "ranker": ranker})
        words = {word for query in queries for word in query.lower().split()}
        hits: list[Hit] = []
        for (store, file), jobs in self.chunks.items():
            if store not in {ref.id for ref in stores}:
                continue
            for job, parts in jobs.items():
                row = await self._db.fetchrow(COMPLETED, store, file, job, where)
                for position, text in enumerate(parts if row else ()):
                    score = len(words & set(text.lower().split())) / len(words)
                    if row and score > 0 and score >= threshold:
                        attributes = orjson.loads(row["attributes"])
                        hits.append(Hit(store, file, row["filename"], score, attributes, text, position))
        hits.sort(key=lambda hit: -hit.score)
        return SearchResult(list(queries), hits[:limit])

    async def chunk_texts(self, store_id: str, file_id: str, *, after: int, limit: int) -> list[str]:
        for job, parts in self.chunks.get((store_id, file_id), {}).items():
            if await self._db.fetchrow(COMPLETED, store_id, file_id, job, None):
                return parts[after + 1 : after + 1 + limit]
        return []
