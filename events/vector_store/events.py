"""Everything that can happen in a vector store: one stream holds the store, its files and its file batches.

A file is in a store at most once. Every attempt at indexing one has a *job*, a number that the stream gives out once:
who reports about an attempt names it, and an attempt that was taken over, cancelled or removed has another or none.
"""

from __future__ import annotations

from typing import Literal

from events.envelope import Event, JsonObject

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]
ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]


class Chunking(Event):
    """In tokens, as the API's static strategy."""

    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class ReplacedFile(Event):
    """What a file was in the store before it was added again."""

    status: FileStatus
    usage_bytes: int


class AddedFile(Event):
    """`chunking` is null where it is not known (it shows as `other`). `filename` and `bytes` are the File's."""

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
    """`expires_after` in days after the last use; `embedding_model` is what its vectors are of."""

    type: Literal["vector_store.created"] = "vector_store.created"
    name: str | None
    description: str | None
    metadata: dict[str, str]
    expires_after: int | None
    embedding_model: str


class VectorStoreModified(Event):
    """`changes` holds name, metadata and expires_after, those that the request named: null clears."""

    type: Literal["vector_store.modified"] = "vector_store.modified"
    changes: JsonObject


class VectorStoreUsed(Event):
    """A search, or files added. Uses that follow closely share one."""

    type: Literal["vector_store.used"] = "vector_store.used"


class EmbeddingModelChanged(Event):
    """All vectors were made anew by this model."""

    type: Literal["vector_store.embedding_model_changed"] = "vector_store.embedding_model_changed"
    embedding_model: str


class VectorStoreExpired(Event):
    """The store was expired at its expires_at; this event is when its chunks were let go."""

    type: Literal["vector_store.expired"] = "vector_store.expired"


class VectorStoreDeleted(Event):
    type: Literal["vector_store.deleted"] = "vector_store.deleted"


class FilesAdded(Event):
    """`batch_id` where they came with a file batch."""

    type: Literal["vector_store.files_added"] = "vector_store.files_added"
    files: list[AddedFile]
    batch_id: str | None


class FileAttributesChanged(Event):
    type: Literal["vector_store.file_attributes_changed"] = "vector_store.file_attributes_changed"
    file_id: str
    attributes: JsonObject


class FileRemoved(Event):
    """`status` and `usage_bytes` are what the file was."""

    type: Literal["vector_store.file_removed"] = "vector_store.file_removed"
    file_id: str
    status: FileStatus
    usage_bytes: int


class IndexingStarted(Event):
    """`process` works on it, and is given up on at `deadline`. `attempt` counts from 1 each time a file is added."""

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
    """`job` is null where no attempt had started."""

    type: Literal["vector_store.indexing_failed"] = "vector_store.indexing_failed"
    file_id: str
    job: int | None
    error: IndexingError


class BatchCreated(Event):
    """Its files follow in the same append."""

    type: Literal["vector_store.batch_created"] = "vector_store.batch_created"
    batch_id: str


class BatchCancelled(Event):
    """Those of its files that were in progress, `cancelled` of them, are cancelled."""

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
StoreFileEvent = FilesAdded | FileAttributesChanged | FileRemoved | IndexingStarted | IndexingFinished | IndexingFailed
StoreBatchEvent = BatchCreated | BatchCancelled
VectorStoreEvent = StoreLifeEvent | StoreFileEvent | StoreBatchEvent
