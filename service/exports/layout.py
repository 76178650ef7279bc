"""The format of an export: its files, the line of an event, and the manifest. Pure.

docs/export-format.md specifies it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

import orjson
import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.leaves import NO_LEAF, SALT_BYTES, Envelope

FORMAT: Literal["everthread-export/1"] = "everthread-export/1"
MANIFEST = "manifest.json"
# Bytes of lines after which a file of events ends. Its last line may exceed them.
EVENTS_FILE_BYTES = 8 * 1024**2
# Bytes of a part of a blob, which a reader has in memory.
PART_BYTES = 16 * 1024**2
MAX_FILE_BYTES = 256 * 1024**2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


class ExportFault(Exception):
    """The export is not whole, was changed, or is not one. The message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportScope:
    """The part of an installation to export: all if nothing is given.

    `since` is included, `until` is not. `has_files` if the bytes of files come along.
    """

    project_id: str | None = None
    thread_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    has_files: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the scope as the manifest has it."""
        times = {
            name: None if at is None else at.isoformat() for name, at in (("since", self.since), ("until", self.until))
        }
        return {"project": self.project_id, "thread": self.thread_id, **times, "files": self.has_files}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportEpoch:
    """An epoch of the log as it is in the export: its first `size` events, of which a checkpoint covers some."""

    epoch: int
    origin: str
    first_index: int
    size: int
    checkpoint_size: int

    @property
    def end(self) -> int:
        """The index after the last event."""
        return self.first_index + self.size


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of the export: its path, the number and the SHA-256 of its bytes before any encryption, and its events."""

    path: str
    bytes: int
    sha256: str
    events: int = 0


@dataclass(frozen=True, slots=True)
class ExportedEvent:
    """An event of an export. `index` is its index in the log, and `previous` the leaf of the version before it.

    `content` is None if it was erased.
    """

    index: int
    envelope: Envelope
    commitment: bytes
    previous: bytes
    leaf: bytes
    content: bytes | None


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ManifestScope(_Record):
    project: str | None
    thread: str | None
    since: str | None
    until: str | None
    files: bool

    @property
    def is_all(self) -> bool:
        """Whether all events of the log belong to it."""
        return not any((self.project, self.thread, self.since, self.until))


class ManifestEpoch(_Record):
    epoch: int
    origin: str
    first_index: int = Field(ge=0)
    size: int = Field(ge=0)
    checkpoint_size: int = Field(ge=0)


class ManifestFile(_Record):
    path: str
    bytes: int = Field(ge=0)
    sha256: str
    events: int = Field(ge=0)


class Manifest(_Record):
    """The contents of an export. `log_key` is the public key of the log, as the export's maker had it.

    `missing_blobs` are files whose bytes were deleted or unreadable while the export was made.
    """

    format: Literal["everthread-export/1"]
    software: str
    made_at: str
    scope: ManifestScope
    epochs: list[ManifestEpoch]
    log_key: str | None
    events: int = Field(ge=0)
    blobs: int = Field(ge=0)
    missing_blobs: list[str]
    files: list[ManifestFile]

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of RFC 8785."""
        return rfc8785.dumps(self.model_dump())

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises ExportFault."""
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ExportFault(f"{MANIFEST} is not that of an export of this format: {place}: {first['msg']}") from None
        if manifest.to_bytes() != data:
            raise ExportFault(f"{MANIFEST} is not in the canonical form of RFC 8785: it was changed")
        return manifest


def checkpoint_path(epoch: int) -> str:
    """Returns the path of the newest checkpoint of an epoch."""
    return f"log/{epoch}/checkpoint"


def tile_path(epoch: int, resource_path: str) -> str:
    """Returns the path of a tile, which is below that of its epoch as C2SP's tlog-tiles has it."""
    return f"log/{epoch}/{resource_path}"


def events_path(number: int) -> str:
    """Returns the path of a file of events. The files are in the order of the log."""
    return f"events/{number:06}.jsonl"


def part_path(key: str, number: int) -> str:
    """Returns the path of a part of a blob. The parts in their order are its bytes."""
    return f"blobs/{key}/{number:06}"


def check_path(path: str) -> str:
    """Returns the path. Raises ExportFault if it leads out of the export."""
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise ExportFault(f"{path!r} is no path of an export")
    return path


class _EventLine(_Record):
    """The line of an event. Bytes are in base64, times in microseconds since 1970."""

    index: int = Field(ge=0)
    stream_id: str
    version: int = Field(ge=1, lt=2**63)
    type: str
    at: int = Field(ge=-(2**55), lt=2**57)
    project_id: str
    actor: str
    request_id: str | None
    cause: str | None
    client: str | None
    algorithm: int
    schema_version: int = Field(ge=0, lt=2**31)
    software_version: str
    commitment: str
    previous: str | None
    leaf: str
    salt: str | None
    content: str | None


def dump_event(index: int, row: Mapping[str, Any]) -> bytes:
    """Returns the line of an event from its columns, of which `previous` is the leaf of the version before or None."""
    content: bytes | None = row["content"]
    line = {
        "index": index,
        "stream_id": row["stream_id"],
        "version": row["version"],
        "type": row["type"],
        "at": (row["at"] - _EPOCH) // _MICROSECOND,
        "project_id": row["project_id"],
        "actor": row["actor"],
        "request_id": row["request_id"],
        "cause": row["cause"],
        "client": _encode(row["client"]),
        "algorithm": row["algorithm"],
        "schema_version": row["schema_version"],
        "software_version": row["software_version"],
        "commitment": _encode(row["commitment"]),
        "previous": _encode(row["previous"]),
        "leaf": _encode(row["leaf"]),
        "salt": None if content is None else _encode(content[:SALT_BYTES]),
        "content": None if content is None else content[SALT_BYTES:].decode(),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def load_event(line: bytes) -> ExportedEvent:
    """Returns the event of a line. Raises ValueError if it is no line of an event."""
    found = _EventLine.model_validate_json(line)
    envelope = Envelope(
        algorithm=found.algorithm,
        stream_id=found.stream_id,
        version=found.version,
        type=found.type,
        at=_EPOCH + found.at * _MICROSECOND,
        project_id=found.project_id,
        actor=found.actor,
        request_id=found.request_id,
        cause=found.cause,
        client=None if found.client is None else _decode(found.client),
        schema_version=found.schema_version,
        software_version=found.software_version,
    )
    content = None
    if found.salt is not None or found.content is not None:
        if found.salt is None or found.content is None:
            raise ValueError("the event has a salt or a content, but not both")
        content = _decode(found.salt) + found.content.encode()
    return ExportedEvent(
        index=found.index,
        envelope=envelope,
        commitment=_decode(found.commitment),
        previous=NO_LEAF if found.previous is None else _decode(found.previous),
        leaf=_decode(found.leaf),
        content=content,
    )


def _encode(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _decode(text: str) -> bytes:
    return b64decode(text, validate=True)
