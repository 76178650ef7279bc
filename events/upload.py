"""The stream of an upload: created, parts added, then completed, cancelled or expired.

The state only counts the parts, so that its size does not grow with their number; the parts themselves are in the view.
An upload is completed in two appends: first the file is created, in its own stream and under an id that follows from
the upload's id, then `upload.completed` is appended. If the process dies in between, a second request to complete the
upload finds the file; if the upload ends otherwise, the file is deleted.
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
# Times that each byte of an upload may be sent: SDKs send a part up to three times if answers are lost.
MAX_TRANSFERS = 3

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class UploadCreated(Event):
    """`bytes` and `content_type` are those that the client announced. `expires_after` is for the file, in seconds."""

    type: Literal["upload.created"] = "upload.created"
    filename: str
    purpose: str
    bytes: int
    content_type: str
    expires_after: int | None
    expires_at: int


class UploadPartAdded(Event):
    """The part's bytes are in the blob storage under its id. `segments` are their hashes, as in `file.created`."""

    type: Literal["upload.part_added"] = "upload.part_added"
    part_id: str
    bytes: int
    sha256: str
    segments: str | None = Field(None, exclude_if=lambda segments: segments is None)


class UploadCompleted(Event):
    """`md5` is that of the file, if the client sent one to compare."""

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
    """`parts` and `received` (bytes) count all added parts, whether the completion uses them or not."""

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
    segments: str | None = None


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    """`sizes` are the bytes of each of `part_ids` as the view has them, null if the upload has no such part.

    `before` is the event of an earlier completion, if there is one. A completion with the same parts does nothing.
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
    """Does nothing if the upload has ended or has not expired."""


UploadCommand = CreateUpload | AddPart | CompleteUpload | CancelUpload | ExpireUpload


def decide(state: UploadState, command: UploadCommand, at: datetime) -> list[UploadEvent]:
    """Returns the events of a command; none if the upload has already ended in the way that the command asks for.

    Raises NotFound if the upload does not exist, and Rejection if it has ended or its parts do not fit.
    """
    match command:
        case CreateUpload():
            if state.status is not None:
                raise Rejection(f"Upload {state.id} already exists.")
            return [_upload_created(command, at)]
        case AddPart():
            _require_open(state, at)
            if state.parts >= MAX_PARTS:
                raise Rejection(f"Upload {state.id} has {MAX_PARTS} parts, which is the limit.")
            if command.bytes > state.bytes:
                raise Rejection(too_large_message(state))
            if state.received + command.bytes > (most := MAX_TRANSFERS * state.bytes):
                raise Rejection(f"The parts of upload {state.id} would exceed the limit of {most} bytes in total.")
            return [_part_added(command)]
        case CompleteUpload():
            if state.status == "completed" and _is_same_completion(command):
                return []
            _require_open(state, at)
            _check_parts(state, command)
            part_ids = list(command.part_ids)
            return [UploadCompleted(part_ids=part_ids, file_id=command.file_id, md5=command.md5)]
        case CancelUpload():
            _require_open(state, at)
            return [UploadCancelled()]
        case ExpireUpload():
            return [UploadExpired()] if state.status == "pending" and _is_overdue(state, at) else []
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
    """Returns the message for a part that is larger than the whole upload."""
    return f"The part is larger than the {state.bytes} bytes that upload {state.id} was created for."


def _is_same_completion(command: CompleteUpload) -> bool:
    """Returns whether the upload was completed earlier with the same parts."""
    before = command.before
    return before is not None and before.part_ids == list(command.part_ids) and command.md5 in (None, before.md5)


def _is_overdue(state: UploadState, at: datetime) -> bool:
    return at.timestamp() >= state.expires_at


def _require_open(state: UploadState, at: datetime) -> None:
    if state.status is None:
        raise NotFound("upload", state.id)
    status = "expired" if state.status == "pending" and _is_overdue(state, at) else state.status
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


def _part_added(command: AddPart) -> UploadPartAdded:
    return UploadPartAdded(
        part_id=command.part_id, bytes=command.bytes, sha256=command.sha256, segments=command.segments
    )


def _upload_created(command: CreateUpload, at: datetime) -> UploadCreated:
    return UploadCreated(
        filename=command.filename,
        purpose=command.purpose,
        bytes=command.bytes,
        content_type=command.content_type,
        expires_after=command.expires_after,
        expires_at=int(at.timestamp()) + LIFETIME,
    )
