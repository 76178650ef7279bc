"""The job of indexing a file, and the commands that start and end its attempts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from events.errors import DomainError
from events.file import is_large_file
from events.vector_store import events as e
from events.vector_store.commands import FailIndexing, FinishIndexing, ReleaseIndexing, StartIndexing
from events.vector_store.state import DEFAULT_OVERLAP, DEFAULT_SIZE
from projections import files, vector_stores
from projections import vector_store_files as view
from service.search.base import IndexingJob, IndexingResult
from service.storage.base import Blobs
from service.storage.checked_read import KnownBlob, read_checked
from service.writer import CommandFactory
from sql.connection import Connection

# Raises Rejection if a project, by its id, has used up its quota of stored bytes.
QuotaCheck = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Work:
    """A file that this process works on. `job` is the job number of the current attempt, and `previous` that of the
    attempt before, None if there was none since the file was added."""

    store_id: str
    file_id: str
    project_id: str
    job: int
    previous: int | None


def file_flow(project_id: str, *, is_large: bool) -> str:
    """Returns the flow (see FairPlaces) of a file: its project's small files, or the large ones."""
    return f"{project_id} {'large' if is_large else 'small'}"


async def open_job(db: Connection, blobs: Blobs, work: Work, at: datetime) -> IndexingJob | None:
    """Returns the job for the indexer; None if the store or the file was deleted."""
    try:
        store = await vector_stores.get(db, work.project_id, work.store_id, at)
        file = await files.get(db, work.project_id, work.file_id, at)
    except DomainError:
        return None
    fact = await view.fact(db, work.store_id, work.file_id)
    if fact is None:
        return None
    chunking = fact.chunking
    blob = KnownBlob(key=file.blob, size=file.bytes, sha256=file.sha256)
    return IndexingJob(
        store_id=work.store_id,
        file_id=work.file_id,
        project_id=work.project_id,
        number=work.job,
        filename=file.filename,
        content_type=file.content_type,
        size=file.bytes,
        read=lambda: read_checked(blobs, blob),
        max_chunk_tokens=chunking.max_chunk_size_tokens if chunking else DEFAULT_SIZE,
        overlap_tokens=chunking.chunk_overlap_tokens if chunking else DEFAULT_OVERLAP,
        embedding_model=store.embedding_model,
        attributes=fact.attributes,
        previous=work.previous,
        flow=file_flow(work.project_id, is_large=is_large_file(file.bytes)),
    )


def start_attempt(
    store_id: str, file_id: str, after: int | None, process: int, lifetime: int
) -> CommandFactory[StartIndexing]:
    """Returns the command that starts the next attempt, if the file's current job number is still `after`."""

    async def command(db: Connection) -> StartIndexing:
        return StartIndexing(
            file_id=file_id,
            fact=await view.fact(db, store_id, file_id),
            process=process,
            after=after,
            lifetime=lifetime,
        )

    return command


def finish_attempt(work: Work, found: IndexingResult) -> CommandFactory[FinishIndexing]:
    """Returns the command that ends the current attempt with success."""
    job = work.job

    async def command(db: Connection) -> FinishIndexing:
        fact = await view.fact(db, work.store_id, work.file_id)
        return FinishIndexing(
            file_id=work.file_id, fact=fact, job=job, usage_bytes=found.usage_bytes, chunks=found.chunks
        )

    return command


def release_attempt(work: Work) -> CommandFactory[ReleaseIndexing]:
    """Returns the command that gives the file back without an end of its indexing."""
    job = work.job

    async def command(db: Connection) -> ReleaseIndexing:
        return ReleaseIndexing(work.file_id, await view.fact(db, work.store_id, work.file_id), job)

    return command


def fail_attempt(
    store_id: str, file_id: str, job: int | None, code: e.ErrorCode, message: str
) -> CommandFactory[FailIndexing]:
    """Returns the command that fails the file, if its current job number is still `job`."""
    error = e.IndexingError(code=code, message=message)

    async def command(db: Connection) -> FailIndexing:
        return FailIndexing(file_id, await view.fact(db, store_id, file_id), job, error)

    return command
