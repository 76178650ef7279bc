"""A file to index as the log and the views have it, and what is asked of its store about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from events.errors import DomainError
from events.vector_store import events as e
from events.vector_store.commands import FailIndexing, FinishIndexing, StartIndexing
from events.vector_store.state import DEFAULT_OVERLAP, DEFAULT_SIZE
from projections import files, vector_stores
from projections import vector_store_files as view
from service.search.base import IndexingJob, IndexingResult
from service.storage.base import Blobs
from service.writer import Ask
from sql.connection import Connection


@dataclass(slots=True)
class Work:
    """A file that this process works on; `job` is the attempt's, and changes with it."""

    store_id: str
    file_id: str
    project_id: str
    job: int


async def open_job(db: Connection, blobs: Blobs, work: Work, at: datetime) -> IndexingJob | None:
    """What the indexer is given; None where the store or the file is not there any more."""
    try:
        store = await vector_stores.get(db, work.project_id, work.store_id, at)
        file = await files.get(db, work.project_id, work.file_id, at)
    except DomainError:
        return None
    fact = await view.fact(db, work.store_id, work.file_id)
    if fact is None:
        return None
    chunking = fact.chunking
    return IndexingJob(
        store_id=work.store_id,
        file_id=work.file_id,
        number=work.job,
        filename=file.filename,
        content_type=file.content_type,
        size=file.bytes,
        read=lambda: blobs.read(file.blob),
        max_chunk_tokens=chunking.max_chunk_size_tokens if chunking else DEFAULT_SIZE,
        overlap_tokens=chunking.chunk_overlap_tokens if chunking else DEFAULT_OVERLAP,
        embedding_model=store.embedding_model,
        attributes=fact.attributes,
    )


def starting(store_id: str, file_id: str, after: int | None, process: int, lifetime: int) -> Ask[StartIndexing]:
    """The next attempt, behind the job `after`."""

    async def ask(db: Connection) -> StartIndexing:
        return StartIndexing(file_id, await view.fact(db, store_id, file_id), process, after, lifetime)

    return ask


def finishing(work: Work, found: IndexingResult) -> Ask[FinishIndexing]:
    job = work.job

    async def ask(db: Connection) -> FinishIndexing:
        fact = await view.fact(db, work.store_id, work.file_id)
        return FinishIndexing(work.file_id, fact, job, found.usage_bytes, found.chunks)

    return ask


def failing(store_id: str, file_id: str, job: int | None, code: e.ErrorCode, message: str) -> Ask[FailIndexing]:
    error = e.IndexingError(code=code, message=message)

    async def ask(db: Connection) -> FailIndexing:
        return FailIndexing(file_id, await view.fact(db, store_id, file_id), job, error)

    return ask
