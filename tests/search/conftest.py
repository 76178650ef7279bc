"""Indexing and search over the test's database, with the view's rows written by hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.model.tokens import Tokens
from service.search.base import Job
from service.search.embed.factory import Embedders
from service.search.hybrid import StoredSearcher
from service.search.indexer import StoredIndexer
from service.search.parse.child_process import ChildApart
from service.search.parse.parser import Parser
from service.search.vector_tables import Models

TOKENS = Tokens()
_jobs = itertools.count(1)


def reader(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def read() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 65_536):
            yield data[at : at + 65_536]

    return read


class Shelf:
    """A store's files as the view has them, indexed by the real thing."""

    def __init__(self, pool: Pool, embedders: Embedders) -> None:
        self.pool = pool
        models = Models(pool)
        self.indexer = StoredIndexer(pool, Parser(ChildApart()), embedders, models, TOKENS)
        self.searcher = StoredSearcher(pool, embedders, models)

    async def begun(
        self,
        store: str,
        file: str,
        filename: str,
        data: bytes,
        *,
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Job:
        """A job whose row is in progress."""
        number = next(_jobs)
        await self.pool.execute(
            "INSERT INTO vector_store_files"
            " (store_id, file_id, project_id, position, filename, status, job, attributes, body) VALUES"
            " ($1, $2, 'proj_default', $3, $4, 'in_progress', $3, $5::jsonb, '{}')"
            " ON CONFLICT (store_id, file_id) DO UPDATE SET job = excluded.job, status = 'in_progress'",
            *(store, file, number, filename, orjson.dumps(attributes or {}).decode()),
        )
        settings = {"max_chunk_tokens": 800, "overlap_tokens": 400, "embedding_model": self.indexer.model, **more}
        return Job(
            store_id=store,
            file_id=file,
            number=number,
            filename=filename,
            content_type="application/octet-stream",
            size=len(data),
            read=reader(data),
            attributes=attributes or {},
            **settings,
        )

    async def put(self, store: str, file: str, filename: str, data: bytes, **more: Any) -> Job:
        """The same, indexed and completed."""
        job = await self.begun(store, file, filename, data, **more)
        await self.indexer.index(job)
        await self.completed(job)
        return job

    async def completed(self, job: Job, status: str = "completed") -> None:
        await self.pool.execute(
            "UPDATE vector_store_files SET status = $4 WHERE store_id = $1 AND file_id = $2 AND job = $3",
            *(job.store_id, job.file_id, job.number, status),
        )


MakeShelf = Callable[..., Shelf]


@pytest.fixture
async def make_shelf(pool: Pool, tmp_path: Path) -> AsyncIterator[MakeShelf]:
    """Makes shelves; keyword arguments are those of Embedders."""
    made: list[Embedders] = []

    def make(**settings: Any) -> Shelf:
        made.append(Embedders(tmp_path / "embedder.log", **settings))
        return Shelf(pool, made[-1])

    yield make
    for embedders in made:
        await embedders.close()


@pytest.fixture
def shelf(make_shelf: MakeShelf) -> Shelf:
    """With the embedded model."""
    return make_shelf()


Put = Callable[..., Awaitable[Job]]
