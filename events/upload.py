"""The upload stream: created, parts added, then completed, cancelled or expired. A small decider, whole in one file.

The parts themselves are facts of the view: the state only counts them, so that it does not grow with their number.
Completing makes a file, in that file's own stream and before the upload says so, under an id that follows from the
upload's: where a crash comes between, completing again finds it, and any other end of the upload takes it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from pydantic import Field

from events.envelope import Event, RecordedEvent
from events.errors import NotFound, Rejection

STATE_SCHEMA = 1
LIFETIME = 3600
MAX_BYTES = 8 * 1024**3
MAX_PARTS = 10_000
# How often each of an upload's bytes may come: SDKs try twice more when an answer is lost, and only one part is used.
MAX_TRANSFERS = 3

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class UploadCreated(Event):
    """`bytes` and `content_type` are what the client announced; `expires_after` is for the file, in seconds."""

    type: Literal["upload.created"] = "upload.created"
    filename: str
    purpose: str
    bytes: int
    content_type: str
    expires_after: int | None
    expires_at: int


class UploadPartAdded(Event):
    """The part's bytes lie under its own id."""

    type: Literal["upload.part_added"] = "upload.part_added"
    part_id: str
    bytes: int
    sha256: str


class UploadCompleted(Event):
    """`md5`: of the file, where the client asked for it to be checked."""

    type: Literal["upload.completed"] = "upload.completed"
    part_ids: list[str]
    file_id: str
    md5: str | None = Field(None, exclude_if=lambda md5: md5 is None)


class UploadCancelled(Event):
    type: Literal["upload.cancelled"] = "upload.cancelled"


class UploadExpired(Event):
    type: Literal["upload.expired"] = "upload.expired"


UploadEvent = UploadCreated | UploadPartAdded | UploadCompleted | UploadCancelled | UploadExpired


@dataclass(frozen=True, slots=True)
class UploadState:
    """`parts` and `received` (bytes) count what was added, used in the end or not."""

    id: str
    status: UploadStatus | None = None
    bytes: int = 0
    parts: int = 0
    received: int = 0
    expires_at: int = 0
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreateUpload:
    filename: str
    purpose: str
    bytes: int
    content_type: str
    expires_after: int | None


@dataclass(frozen=True, slots=True)
class AddPart:
    part_id: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    """`sizes` are facts of the view: the bytes of each of `part_ids`, null where the upload has no such part.

    `before`: how the upload was completed already. The same again does nothing.
    """

    part_ids: Sequence[str]
    sizes: Sequence[int | None]
    file_id: str
    md5: str | None = None
    before: UploadCompleted | None = None


@dataclass(frozen=True, slots=True)
class CancelUpload:
    pass


@dataclass(frozen=True, slots=True)
class ExpireUpload:
    """Nothing happens where the upload has ended or its time is not up."""


UploadCommand = CreateUpload | AddPart | CompleteUpload | CancelUpload | ExpireUpload


def decide(state: UploadState, command: UploadCommand, at: datetime) -> list[UploadEvent]:
    """Raises NotFound where there is no such upload, Rejection where it has ended or the parts are not right."""
    match command:
        case CreateUpload():
            if state.status is not None:
                raise Rejection(f"Upload {state.id} already exists.")
            return [_created(command, at)]
        case AddPart():
            _require_open(state, at)
            if state.parts >= MAX_PARTS:
                raise Rejection(f"Upload {state.id} has {MAX_PARTS} parts, which is the limit.")
            if command.bytes > state.bytes:
                raise Rejection(too_large_message(state))
            if state.received + command.bytes > (most := MAX_TRANSFERS * state.bytes):
                raise Rejection(f"The parts of upload {state.id} would exceed the limit of {most} bytes in total.")
            return [UploadPartAdded(part_id=command.part_id, bytes=command.bytes, sha256=command.sha256)]
        case CompleteUpload():
            if state.status == "completed" and _again(command):
                return []
            _require_open(state, at)
            _check_parts(state, command)
            part_ids = list(command.part_ids)
            return [UploadCompleted(part_ids=part_ids, file_id=command.file_id, md5=command.md5)]
        case CancelUpload():
            _require_open(state, at)
            return [UploadCancelled()]
        case ExpireUpload():
            return [UploadExpired()] if state.status == "pending" and _overdue(state, at) else []
        case _:
            assert_never(command)


def evolve(state: UploadState, recorded: RecordedEvent[UploadEvent]) -> UploadState:
    match recorded.event:
        case UploadCreated(bytes=announced, expires_at=expires_at):
            return replace(state, status="pending", bytes=announced, expires_at=expires_at)
        case UploadPartAdded(bytes=added):
            return replace(state, parts=state.parts + 1, received=state.received + added)
        case UploadCompleted(file_id=file_id):
            return replace(state, status="completed", file_id=file_id)
        case UploadCancelled():
            return replace(state, status="cancelled")
        case UploadExpired():
            return replace(state, status="expired")
        case _:
            assert_never(recorded.event)


def too_large_message(state: UploadState) -> str:
    """What is said of a part that no completion could use."""
    return f"The part is larger than the {state.bytes} bytes that upload {state.id} was created for."


def _again(command: CompleteUpload) -> bool:
    """Whether the upload was completed just so."""
    before = command.before
    return before is not None and before.part_ids == list(command.part_ids) and command.md5 in (None, before.md5)


def _overdue(state: UploadState, at: datetime) -> bool:
    return at.timestamp() >= state.expires_at


def _require_open(state: UploadState, at: datetime) -> None:
    if state.status is None:
        raise NotFound("upload", state.id)
    status = "expired" if state.status == "pending" and _overdue(state, at) else state.status
    if status != "pending":
        raise Rejection(f"Upload {state.id} is {status}: it takes no more parts and cannot be completed or cancelled.")


def _check_parts(state: UploadState, command: CompleteUpload) -> None:
    if len(set(command.part_ids)) < len(command.part_ids):
        raise Rejection("A part is named more than once.", param="part_ids")
    total = 0
    for id, size in zip(command.part_ids, command.sizes, strict=True):
        if size is None:
            raise Rejection(f"Upload {state.id} has no part '{id}'.", param="part_ids")
        total += size
    if total != state.bytes:
        message = f"The parts have {total} bytes in total, but the upload was created for {state.bytes} bytes."
        raise Rejection(message, param="part_ids")


def _created(command: CreateUpload, at: datetime) -> UploadCreated:
    return UploadCreated(
        filename=command.filename,
        purpose=command.purpose,
        bytes=command.bytes,
        content_type=command.content_type,
        expires_after=command.expires_after,
        expires_at=int(at.timestamp()) + LIFETIME,
    )
