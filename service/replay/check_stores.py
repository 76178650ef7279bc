"""Finds the commands of a vector store from its events. Pure.

The facts about its files and batches, which callers read from views, are folded from the events here. Requests to add a
file that is there already, with the same settings, have no event for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, assert_never

from events.envelope import RecordedEvent
from events.vector_store import events as e
from events.vector_store.commands import (
    AddFiles,
    BatchFact,
    CancelBatch,
    ChangeAttributes,
    ChangeModel,
    CreateBatch,
    CreateStore,
    DeleteStore,
    ExpireStore,
    FailIndexing,
    FileFact,
    FinishIndexing,
    ModifyStore,
    NewFile,
    ReleaseIndexing,
    RemoveFile,
    StartIndexing,
    UseStore,
    VectorStoreCommand,
)
from events.vector_store.state import VectorStoreState

# The limit of files is a setting, which no event holds.
_NO_LIMIT = 2**62


class StoreInversion:
    """Finds the commands of a vector store. It keeps the facts about its files and their batches."""

    def __init__(self) -> None:
        self._files: dict[str, FileFact] = {}
        self._batches: dict[str, str] = {}

    def commands(
        self, state: VectorStoreState, events: Sequence[e.VectorStoreEvent], at: datetime
    ) -> list[VectorStoreCommand]:
        """Returns the commands that may have led to the events: see `Inversion`."""
        match event := events[0]:
            case e.VectorStoreCreated() as created:
                return [
                    CreateStore(
                        name=created.name,
                        description=created.description,
                        metadata=created.metadata,
                        expires_after=created.expires_after,
                        embedding_model=created.embedding_model,
                        files=_new_files(events),
                        provenance=created.provenance,
                    )
                ]
            case e.VectorStoreModified(changes=changes):
                return [ModifyStore(changes)]
            case e.VectorStoreUsed():
                # Requests whose files were all there already use the vector store too.
                return [UseStore(), AddFiles([], {}, _NO_LIMIT)]
            case e.EmbeddingModelChanged(embedding_model=model):
                return [ChangeModel(model)]
            case e.VectorStoreExpired():
                return [ExpireStore()]
            case e.VectorStoreDeleted():
                return [DeleteStore()]
            case e.FilesAdded():
                return [AddFiles(_new_files(events), self._files, _NO_LIMIT)]
            case e.BatchCreated(batch_id=batch_id):
                return [CreateBatch(batch_id, _new_files(events), self._files, _NO_LIMIT)]
            case e.BatchCancelled(batch_id=batch_id):
                return [CancelBatch(batch_id, self._batch(batch_id))]
            case e.FileRemoved(file_id=file_id):
                return [RemoveFile(file_id, self._files.get(file_id))]
            case e.FileAttributesChanged(file_id=file_id, attributes=attributes):
                return [ChangeAttributes(file_id, self._files.get(file_id), attributes)]
            case e.IndexingStarted() | e.IndexingFinished() | e.IndexingFailed() | e.IndexingReleased():
                return self._reports(event, at)
            case _:
                assert_never(event)

    def add(self, recorded: RecordedEvent[e.VectorStoreEvent]) -> None:
        """Applies an event to the facts."""
        match event := recorded.event:
            case e.FilesAdded(files=files, batch_id=batch_id):
                for file in files:
                    self._add_file(file, batch_id)
            case e.FileRemoved(file_id=file_id):
                self._files.pop(file_id, None)
                self._batches.pop(file_id, None)
            case e.FileAttributesChanged(file_id=file_id, attributes=attributes):
                self._change(file_id, attributes=attributes)
            case e.IndexingStarted(file_id=file_id, job=job, attempt=attempt, process=process):
                self._change(file_id, job=job, attempt=attempt, process=process)
            case e.IndexingFinished(file_id=file_id, usage_bytes=usage):
                self._change(file_id, status="completed", usage_bytes=usage, process=None)
            case e.IndexingFailed(file_id=file_id):
                self._change(file_id, status="failed", job=None, process=None)
            case e.IndexingReleased(file_id=file_id):
                self._change(file_id, attempt=self._files[file_id].attempt - 1, process=None)
            case e.BatchCancelled(batch_id=batch_id):
                self._cancel([id for id, of_batch in self._batches.items() if of_batch == batch_id])
            case e.VectorStoreExpired():
                self._cancel(list(self._files))
                for file_id in self._files:
                    self._change(file_id, job=None, process=None, usage_bytes=0)
            case e.VectorStoreDeleted():
                self._files.clear()
                self._batches.clear()
            case (
                e.VectorStoreCreated()
                | e.VectorStoreModified()
                | e.VectorStoreUsed()
                | e.EmbeddingModelChanged()
                | e.BatchCreated()
            ):
                return
            case _:
                assert_never(event)

    def _change(self, file_id: str, **fields: Any) -> None:
        self._files[file_id] = replace(self._files[file_id], **fields)

    def _cancel(self, file_ids: Sequence[str]) -> None:
        """Cancels those of the files that are in progress."""
        for file_id in file_ids:
            if self._files[file_id].status == "in_progress":
                self._change(file_id, status="cancelled", job=None, process=None)

    def _add_file(self, file: e.AddedFile, batch_id: str | None) -> None:
        self._files[file.file_id] = FileFact(
            status="in_progress",
            usage_bytes=0,
            job=None,
            process=None,
            attempt=0,
            chunking=file.chunking,
            attributes=file.attributes,
        )
        self._batches.pop(file.file_id, None)
        if batch_id is not None:
            self._batches[file.file_id] = batch_id

    def _reports(
        self, event: e.IndexingStarted | e.IndexingFinished | e.IndexingFailed | e.IndexingReleased, at: datetime
    ) -> list[VectorStoreCommand]:
        """Returns the reports of a process about an attempt at indexing."""
        id = event.file_id
        fact = self._files.get(id)
        match event:
            case e.IndexingStarted(process=process, deadline=deadline):
                after, lifetime = (None if fact is None else fact.job), deadline - int(at.timestamp())
                return [StartIndexing(file_id=id, fact=fact, process=process, after=after, lifetime=lifetime)]
            case e.IndexingFinished(job=job, usage_bytes=usage, chunks=chunks):
                return [FinishIndexing(file_id=id, fact=fact, job=job, usage_bytes=usage, chunks=chunks)]
            case e.IndexingFailed(job=job, error=error):
                # A process that would start one attempt too many ends the file instead.
                last = StartIndexing(file_id=id, fact=fact, process=0, after=job, lifetime=0)
                return [FailIndexing(id, fact, job, error), last]
            case e.IndexingReleased(job=job):
                return [ReleaseIndexing(id, fact, job)]
            case _:
                assert_never(event)

    def _batch(self, batch_id: str) -> BatchFact:
        of_batch = (self._files[id] for id, batch in self._batches.items() if batch == batch_id)
        return BatchFact(sum(fact.status == "in_progress" for fact in of_batch), False)


def _new_files(events: Sequence[e.VectorStoreEvent]) -> list[NewFile]:
    return [
        NewFile(
            file_id=file.file_id,
            filename=file.filename,
            bytes=file.bytes,
            attributes=file.attributes,
            chunking=file.chunking,
        )
        for event in events
        if isinstance(event, e.FilesAdded)
        for file in event.files
    ]
