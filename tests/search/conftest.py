"""Fixtures for indexing and search over the test's database; the tests write the rows of the view themselves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.database import Pool
from service.model.tokens import Tokens
from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.probe import SandboxProbe
from service.search.base import IndexingJob
from service.search.embed.factory import Embedders
from service.search.hybrid import PostgresSearcher
from service.search.indexer import PostgresIndexer
from service.search.parse.child_process import ChildProcessRunner
from service.search.parse.parser import Parser
from service.search.parse.sandbox_process import SandboxRunner
from service.search.vector_tables import VectorTables
from tests.clock import CLOCK

TOKENS = Tokens()
_jobs = itertools.count(1)


def reader(data: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def read() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 65_536):
            yield data[at : at + 65_536]

    return read


class Shelf:
    """The files of vector stores as rows of the view, with a real indexer and searcher."""

    def __init__(self, pool: Pool, embedders: Embedders) -> None:
        self.pool = pool
        tables = VectorTables(pool)
        self.indexer = PostgresIndexer(
            pool=pool, parser=Parser(ChildProcessRunner()), embedders=embedders, tables=tables, tokens=TOKENS
        )
        self.searcher = PostgresSearcher(pool, embedders, tables, now=CLOCK.now)

    async def start_job(
        self,
        store: str,
        file: str,
        filename: str,
        data: bytes,
        *,
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> IndexingJob:
        """Writes a row that is in progress and returns its job."""
        number = next(_jobs)
        await self.pool.execute(
            "INSERT INTO vector_store_files"
            " (store_id, file_id, project_id, position, filename, status, job, attributes, body) VALUES"
            " ($1, $2, 'proj_default', $3, $4, 'in_progress', $3, $5::jsonb, '{}')"
            " ON CONFLICT (store_id, file_id) DO UPDATE SET job = excluded.job, status = 'in_progress'",
            *(store, file, number, filename, orjson.dumps(attributes or {}).decode()),
        )
        settings = {
            "max_chunk_tokens": 800,
            "overlap_tokens": 400,
            "embedding_model": self.indexer.embedding_model,
            **more,
        }
        return IndexingJob(
            store_id=store,
            file_id=file,
            project_id="proj_default",
            number=number,
            filename=filename,
            content_type="application/octet-stream",
            size=len(data),
            read=reader(data),
            attributes=attributes or {},
            **settings,
        )

    async def index_file(self, store: str, file: str, filename: str, data: bytes, **more: Any) -> IndexingJob:
        """Indexes the file and sets its row to completed; returns the job."""
        job = await self.start_job(store, file, filename, data, **more)
        await self.indexer.index(job)
        await self.set_status(job)
        return job

    async def set_status(self, job: IndexingJob, status: str = "completed") -> None:
        await self.pool.execute(
            "UPDATE vector_store_files SET status = $4 WHERE store_id = $1 AND file_id = $2 AND job = $3",
            *(job.store_id, job.file_id, job.number, status),
        )


MakeShelf = Callable[..., Shelf]


@pytest.fixture
async def make_shelf(pool: Pool, tmp_path: Path) -> AsyncIterator[MakeShelf]:
    """A function that makes shelves; its keyword arguments are those of Embedders."""
    all_embedders: list[Embedders] = []

    def make(**settings: Any) -> Shelf:
        all_embedders.append(Embedders(tmp_path / "embedder.log", now=CLOCK.now, **settings))
        return Shelf(pool, all_embedders[-1])

    yield make
    for embedders in all_embedders:
        await embedders.close()


@pytest.fixture
def shelf(make_shelf: MakeShelf) -> Shelf:
    """A shelf with the embedded model."""
    return make_shelf()


@pytest.fixture(scope="module")
def sandbox_runner(launcher: SandboxLauncher) -> SandboxRunner:
    """Runs parsers in the sandbox. The first test of a module tries whether the sandbox holds, for all of them."""
    return SandboxRunner(SandboxProbe())
