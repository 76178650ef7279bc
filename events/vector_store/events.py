"""The events of a vector store: one stream holds the vector store, its files and its file batches.

A vector store has a file at most once. Each attempt at indexing a file has a *job*, a number that the stream assigns
once. Reports on an attempt name its job. If the attempt was taken over, cancelled or removed, the file has another job
or none.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from events.envelope import Event, JsonObject
from events.provenance import Provenance

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]


class Chunking(Event):
    """In tokens, as in the API's static strategy."""

    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class ReplacedFile(Event):
    """The facts about a file in the vector store before it was added again."""

    status: FileStatus
    usage_bytes: int


class AddedFile(Event):
    """`chunking` is null if it is unknown (the API shows `other`). `filename` and `bytes` are those of the File."""

    file_id: str
    filename: str
    bytes: int
    attributes: JsonObject
    chunking: Chunking | None
    replaced: ReplacedFile | None = None


class IndexingError(Event):
    code: ErrorCode
    message: str


class VectorStoreCreated(Event):
    """`expires_after` in days after the last use. `embedding_model` is the model of its vectors."""

    type: Literal["vector_store.created"] = "vector_store.created"
    name: str | None
    description: str | None
    metadata: dict[str, str]
    expires_after: int | None
    embedding_model: str
    provenance: Provenance | None = Field(None, exclude_if=lambda provenance: provenance is None)


class VectorStoreModified(Event):
    """`changes` holds the fields that the request named: name, metadata, expires_after. A null clears a field."""

    type: Literal["vector_store.modified"] = "vector_store.modified"
    changes: JsonObject


class VectorStoreUsed(Event):
    """A search, or files were added. Uses in close succession are recorded once."""

    type: Literal["vector_store.used"] = "vector_store.used"


class EmbeddingModelChanged(Event):
    """All vectors were computed again with this model."""

    type: Literal["vector_store.embedding_model_changed"] = "vector_store.embedding_model_changed"
    embedding_model: str


class VectorStoreExpired(Event):
    """The vector store expired at its expires_at. This event is appended when its chunks are deleted."""

    type: Literal["vector_store.expired"] = "vector_store.expired"


class VectorStoreDeleted(Event):
    type: Literal["vector_store.deleted"] = "vector_store.deleted"


class FilesAdded(Event):
    """`batch_id` is set if the files were added by a file batch."""

    type: Literal["vector_store.files_added"] = "vector_store.files_added"
    files: list[AddedFile]
    batch_id: str | None


class FileAttributesChanged(Event):
    type: Literal["vector_store.file_attributes_changed"] = "vector_store.file_attributes_changed"
    file_id: str
    attributes: JsonObject


class FileRemoved(Event):
    """`status` and `usage_bytes` are those that the file had."""

    type: Literal["vector_store.file_removed"] = "vector_store.file_removed"
    file_id: str
    status: FileStatus
    usage_bytes: int


class IndexingStarted(Event):
    """A process started an attempt; other processes end it after `deadline` (seconds since the epoch).

    `attempt` counts from 1 each time the file is added.
    """

    type: Literal["vector_store.indexing_started"] = "vector_store.indexing_started"
    file_id: str
    job: int
    attempt: int
    process: int
    deadline: int


class IndexingFinished(Event):
    type: Literal["vector_store.indexing_finished"] = "vector_store.indexing_finished"
    file_id: str
    job: int
    usage_bytes: int
    chunks: int


class IndexingFailed(Event):
    """`job` is null if no attempt had started."""

    type: Literal["vector_store.indexing_failed"] = "vector_store.indexing_failed"
    file_id: str
    job: int | None
    error: IndexingError


class IndexingReleased(Event):
    """The process stopped in order and gave the file back, so that another process starts the next attempt at once.

    The attempt does not count: the next one has its number.
    """

    type: Literal["vector_store.indexing_released"] = "vector_store.indexing_released"
    file_id: str
    job: int


class BatchCreated(Event):
    """The files of the batch are added in the same append."""

    type: Literal["vector_store.batch_created"] = "vector_store.batch_created"
    batch_id: str


class BatchCancelled(Event):
    """Those files of the batch that were in progress, `cancelled` of them, are cancelled."""

    type: Literal["vector_store.batch_cancelled"] = "vector_store.batch_cancelled"
    batch_id: str
    cancelled: int


StoreLifeEvent = (
    VectorStoreCreated
    | VectorStoreModified
    | VectorStoreUsed
    | EmbeddingModelChanged
    | VectorStoreExpired
    | VectorStoreDeleted
)
IndexingEvent = IndexingStarted | IndexingFinished | IndexingFailed | IndexingReleased
StoreFileEvent = FilesAdded | FileAttributesChanged | FileRemoved | IndexingEvent
StoreBatchEvent = BatchCreated | BatchCancelled
VectorStoreEvent = StoreLifeEvent | StoreFileEvent | StoreBatchEvent
