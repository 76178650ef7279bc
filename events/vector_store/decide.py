"""Decides the commands of a vector store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import assert_never

from events.errors import NotFound, Rejection, StaleJob, StoreFileNotFound
from events.vector_store import events as e
from events.vector_store.commands import (
    AddFiles,
    CancelBatch,
    ChangeAttributes,
    ChangeModel,
    CreateBatch,
    CreateStore,
    DeleteStore,
    ExpireStore,
    FailIndexing,
    FileCommand,
    FileFact,
    FinishIndexing,
    IndexingCommand,
    LifeCommand,
    ModifyStore,
    NewFile,
    ReleaseIndexing,
    RemoveFile,
    StartIndexing,
    UseStore,
    VectorStoreCommand,
)
from events.vector_store.state import VectorStoreState, is_use_worth_recording

# Attempts at indexing a file before it fails, if each one ends with the death of its process or with the database
# connection. Attempts that an orderly stop of the process broke off do not count.
MAX_ATTEMPTS = 5
# Files in one event.
FILES_PER_EVENT = 500
NOUN = "vector store"


def decide(state: VectorStoreState, command: VectorStoreCommand, at: datetime) -> list[e.VectorStoreEvent]:
    """Raises NotFound, Rejection, or StaleJob if a process has lost its file."""
    match command:
        case CreateStore() | ModifyStore() | UseStore() | ExpireStore() | DeleteStore() | ChangeModel():
            return _decide_life(state, command, at)
        case AddFiles() | RemoveFile() | ChangeAttributes() | CreateBatch() | CancelBatch():
            _require(state)
            return _decide_files(state, command, at)
        case StartIndexing() | FinishIndexing() | FailIndexing() | ReleaseIndexing():
            return _decide_indexing(state, command, at)
        case _:
            assert_never(command)


def is_expired(state: VectorStoreState, at: datetime) -> bool:
    """Returns whether the vector store has expired at time `at`, even if no event says so yet."""
    return state.expired or (state.expires_at is not None and at.timestamp() >= state.expires_at)


def _decide_life(state: VectorStoreState, command: LifeCommand, at: datetime) -> list[e.VectorStoreEvent]:
    match command:
        case CreateStore():
            if state.exists and command.if_missing:
                return []
            if state.exists:
                raise Rejection(f"Vector store {state.id} already exists.")
            return [_create(command), *_add_files(command.files, {}, None)]
        case ModifyStore(changes=changes):
            _require(state)
            if "expires_after" in changes:
                _require_unexpired(state, at)
            return [e.VectorStoreModified(changes=dict(changes))] if changes else []
        case UseStore():
            return _use(state, at) if state.exists and not is_expired(state, at) else []
        case ExpireStore():
            return [e.VectorStoreExpired()] if state.exists and not state.expired and is_expired(state, at) else []
        case DeleteStore():
            _require(state)
            return [e.VectorStoreDeleted()]
        case ChangeModel(embedding_model=model):
            _require(state)
            return [e.EmbeddingModelChanged(embedding_model=model)]
        case _:
            assert_never(command)


def _decide_files(state: VectorStoreState, command: FileCommand, at: datetime) -> list[e.VectorStoreEvent]:
    match command:
        case AddFiles(files=files, existing=existing, limit=limit):
            _require_unexpired(state, at)
            new = [file for file in files if not _is_unchanged(file, existing.get(file.file_id))]
            _check_room(state, new, existing, limit)
            return [*_add_files(new, existing, None), *_use(state, at)]
        case CreateBatch(batch_id=batch_id, files=files, existing=existing, limit=limit):
            _require_unexpired(state, at)
            _check_room(state, files, existing, limit)
            return [e.BatchCreated(batch_id=batch_id), *_add_files(files, existing, batch_id), *_use(state, at)]
        case CancelBatch(batch_id=batch_id, fact=batch):
            if batch is None:
                raise NotFound("vector store file batch", batch_id)
            has_ended = batch.cancelled or batch.in_progress == 0
            return [] if has_ended else [e.BatchCancelled(batch_id=batch_id, cancelled=batch.in_progress)]
        case RemoveFile(file_id=file_id, fact=fact):
            file = _require_file(state, file_id, fact)
            return [e.FileRemoved(file_id=file_id, status=file.status, usage_bytes=file.usage_bytes)]
        case ChangeAttributes(file_id=file_id, fact=fact, attributes=attributes):
            _require_file(state, file_id, fact)
            return [e.FileAttributesChanged(file_id=file_id, attributes=dict(attributes))]
        case _:
            assert_never(command)


def _decide_indexing(state: VectorStoreState, command: IndexingCommand, at: datetime) -> list[e.VectorStoreEvent]:
    fact = command.fact
    if not state.exists or state.expired or fact is None or fact.status != "in_progress":
        raise StaleJob(state.id, command.file_id)
    match command:
        case StartIndexing(file_id=file_id):
            if fact.job != command.after:
                raise StaleJob(state.id, file_id)
            if fact.attempt >= MAX_ATTEMPTS:
                message = f"Indexing was begun {fact.attempt} times, and the server stopped or failed each time."
                return [_fail(file_id, fact.job, e.IndexingError(code="server_error", message=message))]
            return [
                e.IndexingStarted(
                    file_id=file_id,
                    job=state.jobs + 1,
                    attempt=fact.attempt + 1,
                    process=command.process,
                    deadline=int(at.timestamp()) + command.lifetime,
                )
            ]
        case FinishIndexing(file_id=file_id, job=job):
            if fact.job != job:
                raise StaleJob(state.id, file_id)
            usage, chunks = command.usage_bytes, command.chunks
            return [e.IndexingFinished(file_id=file_id, job=job, usage_bytes=usage, chunks=chunks)]
        case FailIndexing(file_id=file_id, job=job, error=error):
            if fact.job != job:
                raise StaleJob(state.id, file_id)
            return [_fail(file_id, job, error)]
        case ReleaseIndexing(file_id=file_id, job=job):
            if fact.job != job:
                raise StaleJob(state.id, file_id)
            return [e.IndexingReleased(file_id=file_id, job=job)]
        case _:
            assert_never(command)


def _create(command: CreateStore) -> e.VectorStoreCreated:
    return e.VectorStoreCreated(
        name=command.name,
        description=command.description,
        metadata=dict(command.metadata),
        expires_after=command.expires_after,
        embedding_model=command.embedding_model,
        provenance=command.provenance,
    )


def _add_files(
    files: Sequence[NewFile], existing: Mapping[str, FileFact], batch_id: str | None
) -> list[e.VectorStoreEvent]:
    added = [_add_file(file, existing.get(file.file_id)) for file in files]
    pages = [added[start : start + FILES_PER_EVENT] for start in range(0, len(added), FILES_PER_EVENT)]
    return [e.FilesAdded(files=page, batch_id=batch_id) for page in pages]


def _add_file(file: NewFile, existing: FileFact | None) -> e.AddedFile:
    return e.AddedFile(
        file_id=file.file_id,
        filename=file.filename,
        bytes=file.bytes,
        attributes=dict(file.attributes),
        chunking=file.chunking,
        replaced=e.ReplacedFile(status=existing.status, usage_bytes=existing.usage_bytes) if existing else None,
    )


def _is_unchanged(file: NewFile, existing: FileFact | None) -> bool:
    return (
        existing is not None
        and existing.status in ("in_progress", "completed")
        and existing.chunking == file.chunking
        and existing.attributes == file.attributes
    )


def _check_room(
    state: VectorStoreState, files: Sequence[NewFile], existing: Mapping[str, FileFact], limit: int
) -> None:
    more = sum(file.file_id not in existing for file in files)
    if state.counts.total + more > limit:
        raise Rejection(f"A vector store can have at most {limit} files; {state.id} has {state.counts.total}.")


def _use(state: VectorStoreState, at: datetime) -> list[e.VectorStoreEvent]:
    return [e.VectorStoreUsed()] if is_use_worth_recording(state.created_at, state.last_active_at, at) else []


def _fail(file_id: str, job: int | None, error: e.IndexingError) -> e.IndexingFailed:
    return e.IndexingFailed(file_id=file_id, job=job, error=error)


def _require_file(state: VectorStoreState, file_id: str, fact: FileFact | None) -> FileFact:
    if fact is None:
        raise StoreFileNotFound(state.id, file_id)
    return fact


def _require(state: VectorStoreState) -> None:
    if not state.exists:
        raise NotFound(NOUN, state.id)


def _require_unexpired(state: VectorStoreState, at: datetime) -> None:
    if is_expired(state, at):
        raise Rejection(f"Vector store {state.id} is expired.")
