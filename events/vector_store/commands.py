"""The commands of a vector store.

The facts about its files and batches are read from views by the caller (`FileFact`, `BatchFact`), null if there is no
such file or batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.provenance import Provenance
from events.vector_store import events as e


@dataclass(frozen=True, slots=True)
class NewFile:
    file_id: str
    filename: str
    bytes: int
    attributes: Mapping[str, Any]
    chunking: e.Chunking | None


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file as the view has it. `job`, `process` and `attempt` are those of its last attempt at indexing."""

    status: e.FileStatus
    usage_bytes: int
    job: int | None
    process: int | None
    attempt: int
    chunking: e.Chunking | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchFact:
    in_progress: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class CreateStore:
    """Creates a vector store with files. With `if_missing` nothing happens if it exists already."""

    name: str | None
    description: str | None
    metadata: Mapping[str, str]
    expires_after: int | None
    embedding_model: str
    files: Sequence[NewFile] = ()
    if_missing: bool = False
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class ModifyStore:
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UseStore:
    """Does nothing if the vector store was used a moment ago, has expired, or does not exist."""


@dataclass(frozen=True, slots=True)
class ExpireStore:
    """Does nothing if the vector store has not expired."""


@dataclass(frozen=True, slots=True)
class DeleteStore:
    pass


@dataclass(frozen=True, slots=True)
class ChangeModel:
    embedding_model: str


@dataclass(frozen=True, slots=True)
class AddFiles:
    """Adds files. `existing` holds the facts of those that the vector store has; it can have at most `limit` files.

    A file that it has with the same settings, indexed or in progress, stays as it is. Any other file is indexed again.
    """

    files: Sequence[NewFile]
    existing: Mapping[str, FileFact]
    limit: int


@dataclass(frozen=True, slots=True)
class CreateBatch:
    """As AddFiles, except that every file is indexed again."""

    batch_id: str
    files: Sequence[NewFile]
    existing: Mapping[str, FileFact]
    limit: int


@dataclass(frozen=True, slots=True)
class CancelBatch:
    batch_id: str
    fact: BatchFact | None


@dataclass(frozen=True, slots=True)
class RemoveFile:
    file_id: str
    fact: FileFact | None


@dataclass(frozen=True, slots=True)
class ChangeAttributes:
    file_id: str
    fact: FileFact | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StartIndexing:
    """A process starts an attempt of at most `lifetime` seconds.

    `after` is the job of the last attempt, whose end the process knows: its process died, or it was given up. It is
    null if no attempt had started.
    """

    file_id: str
    fact: FileFact | None
    process: int
    after: int | None
    lifetime: int


@dataclass(frozen=True, slots=True)
class FinishIndexing:
    file_id: str
    fact: FileFact | None
    job: int
    usage_bytes: int
    chunks: int


@dataclass(frozen=True, slots=True)
class FailIndexing:
    file_id: str
    fact: FileFact | None
    job: int | None
    error: e.IndexingError


@dataclass(frozen=True, slots=True)
class ReleaseIndexing:
    """The worker stops in order, because its process stops."""

    file_id: str
    fact: FileFact | None
    job: int


LifeCommand = CreateStore | ModifyStore | UseStore | ExpireStore | DeleteStore | ChangeModel
FileCommand = AddFiles | RemoveFile | ChangeAttributes | CreateBatch | CancelBatch
IndexingCommand = StartIndexing | FinishIndexing | FailIndexing | ReleaseIndexing
VectorStoreCommand = LifeCommand | FileCommand | IndexingCommand
