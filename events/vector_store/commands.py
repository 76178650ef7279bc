"""What can be asked of a vector store.

Facts about its files and batches are the view's and come in with the command: `FileFact`, `BatchFact`, null where there
is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """A file as the view has it. `job`, `process` and `attempt` are those of its last attempt."""

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
    """With files. `if_missing`: nothing happens where the store is there already."""

    name: str | None
    description: str | None
    metadata: Mapping[str, str]
    expires_after: int | None
    embedding_model: str
    files: Sequence[NewFile] = ()
    if_missing: bool = False


@dataclass(frozen=True, slots=True)
class ModifyStore:
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UseStore:
    """Nothing happens where it was used just now, has expired, or is not there."""


@dataclass(frozen=True, slots=True)
class ExpireStore:
    """Nothing happens where its time is not up."""


@dataclass(frozen=True, slots=True)
class DeleteStore:
    pass


@dataclass(frozen=True, slots=True)
class ChangeModel:
    embedding_model: str


@dataclass(frozen=True, slots=True)
class AddFiles:
    """`there` holds the facts of those that the store has. At most `limit` files fit into the store.

    A file that is there with the same settings, indexed or being so, stays as it is; otherwise it is indexed anew.
    """

    files: Sequence[NewFile]
    there: Mapping[str, FileFact]
    limit: int


@dataclass(frozen=True, slots=True)
class CreateBatch:
    """As AddFiles, but that every file is indexed anew."""

    batch_id: str
    files: Sequence[NewFile]
    there: Mapping[str, FileFact]
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
    """A process takes a file on, `lifetime` in seconds. `after` is the job whose end it knows (its process died, or it
    was given up), null where none had started."""

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


LifeCommand = CreateStore | ModifyStore | UseStore | ExpireStore | DeleteStore | ChangeModel
FileCommand = AddFiles | RemoveFile | ChangeAttributes | CreateBatch | CancelBatch
IndexingCommand = StartIndexing | FinishIndexing | FailIndexing
VectorStoreCommand = LifeCommand | FileCommand | IndexingCommand
