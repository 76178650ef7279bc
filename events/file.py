"""The stream of a file: created, then deleted or expired.

The bytes are in the blob storage under the key `blob`. They are written before the event is appended, so every file of
the log has had its bytes. A file does not exist from the second of its `expires_at` on, even if no process has appended
`file.expired` yet: `check_use` and `has_expired` compare the times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from pydantic import Field

from events.envelope import Event, RecordedEvent
from events.errors import FileNotFound, Rejection
from events.objects import File
from events.provenance import Provenance

STATE_SCHEMA = 1
# Bytes of a file that a client uploads at once, and of a file that is indexed.
MAX_FILE = 512 * 1024**2
# Bytes of a file that does not wait behind larger files of its project to be parsed and indexed.
SMALL_FILE = 256 * 1024

# Purposes of the files that tools may read, that a vector store may hold, and that a message may show as an image
# (docs/behaviour.md, "Errors"). Runs write files of the purpose assistants_output.
TOOL_PURPOSES = ("assistants", "assistants_output")
VECTOR_STORE_PURPOSES = ("assistants", "assistants_output", "user_data")
IMAGE_PURPOSES = ("vision", "assistants", "assistants_output")


class FileCreated(Event):
    """`expires_at` in seconds since the epoch; null if the file does not expire.

    `segments` holds the hashes of the file's segments (docs/log-format.md, "Files"); null if the file has one segment,
    or if older software wrote the event.
    """

    type: Literal["file.created"] = "file.created"
    filename: str
    purpose: str
    bytes: int
    sha256: str
    content_type: str
    expires_at: int | None
    blob: str
    segments: str | None = Field(None, exclude_if=lambda segments: segments is None)
    provenance: Provenance | None = Field(None, exclude_if=lambda provenance: provenance is None)


class FileDeleted(Event):
    type: Literal["file.deleted"] = "file.deleted"


class FileExpired(Event):
    """The file expired at its expires_at. This event is appended when its bytes are deleted."""

    type: Literal["file.expired"] = "file.expired"


FileEvent = FileCreated | FileDeleted | FileExpired


@dataclass(frozen=True, slots=True)
class FileState:
    id: str
    exists: bool = False
    sha256: str = ""
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class CreateFile:
    """`expires_after` in seconds from now; null if the file does not expire."""

    filename: str
    purpose: str
    bytes: int
    sha256: str
    content_type: str
    expires_after: int | None
    blob: str
    segments: str | None = None
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class DeleteFile:
    pass


@dataclass(frozen=True, slots=True)
class ExpireFile:
    """Does nothing if the file does not exist or has not expired."""


FileCommand = CreateFile | DeleteFile | ExpireFile


def decide(state: FileState, command: FileCommand, at: datetime) -> list[FileEvent]:
    """Returns the events of a command; none if the same file was created already.

    Raises FileNotFound if the file does not exist, and Rejection if a file with this id and other bytes exists already.
    """
    match command:
        case CreateFile():
            if state.exists:
                if state.sha256 != command.sha256:
                    raise Rejection(f"File {state.id} already exists.")
                return []
            return [_file_created(command, at)]
        case DeleteFile():
            if not state.exists or _is_overdue(state, at):
                raise FileNotFound(state.id)
            return [FileDeleted()]
        case ExpireFile():
            return [FileExpired()] if state.exists and _is_overdue(state, at) else []
        case _:
            assert_never(command)


def evolve(state: FileState, recorded: RecordedEvent[FileEvent]) -> FileState:
    match recorded.event:
        case FileCreated(sha256=sha256, expires_at=expires_at):
            return replace(state, exists=True, sha256=sha256, expires_at=expires_at)
        case FileDeleted() | FileExpired():
            return FileState(state.id)
        case _:
            assert_never(recorded.event)


def is_large_file(size: int) -> bool:
    """Returns whether a file of `size` bytes has the turns of large files when it is parsed and indexed."""
    return size > SMALL_FILE


def check_use(file: File | None, id: str, purposes: Collection[str], at: datetime) -> None:
    """Raises FileNotFound if the file does not exist at time `at`, and Rejection if it has none of the purposes.

    `file` is the file as the view has it, or None.
    """
    if file is None or has_expired(file, at):
        raise FileNotFound(id)
    if file.purpose not in purposes:
        wanted = " or ".join(f"'{purpose}'" for purpose in purposes)
        message = f"File {id} has the purpose '{file.purpose}'; to be used here it needs the purpose {wanted}."
        raise Rejection(message, param="file_id", code="invalid_file_purpose")


def check_searchable(filenames: Iterable[str], can_index: Callable[[str], bool]) -> None:
    """Raises Rejection if the search cannot index the type of a file (docs/behaviour.md, "Errors")."""
    unsupported = dict.fromkeys(_extension(filename) for filename in filenames if not can_index(filename))
    if unsupported:
        message = f"Files with extensions [{', '.join(unsupported)}] are not supported for retrieval."
        raise Rejection(message, code="unsupported_file")


def has_expired(file: File, at: datetime) -> bool:
    """Returns whether the file has expired at time `at`, appended or not."""
    return file.expires_at is not None and at.timestamp() >= file.expires_at


def _extension(filename: str) -> str:
    """Returns the ending of the name in lower case, from its last dot on; "none" if it has no ending."""
    _, dot, ending = filename.rpartition(".")
    return f".{ending.lower()}" if dot and ending else "none"


def _is_overdue(state: FileState, at: datetime) -> bool:
    return state.expires_at is not None and at.timestamp() >= state.expires_at


def _file_created(command: CreateFile, at: datetime) -> FileCreated:
    expires_at = None if command.expires_after is None else int(at.timestamp()) + command.expires_after
    return FileCreated(
        filename=command.filename,
        purpose=command.purpose,
        bytes=command.bytes,
        sha256=command.sha256,
        content_type=command.content_type,
        expires_at=expires_at,
        blob=command.blob,
        segments=command.segments,
        provenance=command.provenance,
    )
