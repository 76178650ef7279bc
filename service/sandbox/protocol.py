"""The packets between the server and a sandbox. Pure, and strict with packets from inside.

A packet is two big-endian 32-bit lengths, a JSON object, and bytes. Packets from inside may be forged: lengths are
checked before anything is stored, and a packet that is not exactly one of those below ends the session.
"""

from __future__ import annotations

import json
import struct
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_HEAD = 64 * 1024
MAX_PAYLOAD = 1024 * 1024
CHUNK = 256 * 1024  # size of one of the server's own packets
MOST_FILES = 100
_LENGTHS = struct.Struct(">II")


class BadPacket(Exception):
    """The bytes are not a valid packet."""


class _Packet(BaseModel):
    # The validators are built with the first session.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Ready(_Packet):
    kind: Literal["ready"]


class ImagePart(_Packet):
    """A piece of an image; `last` marks the last piece."""

    kind: Literal["image"]
    mime: Literal["image/png", "image/jpeg"]
    last: bool


class FileEntry(_Packet):
    path: str = Field(min_length=1, max_length=1024)
    size: int = Field(ge=0)


class CallFinished(_Packet):
    """Call number `call` has ended. `unlisted` counts the changed files beyond the first MOST_FILES."""

    kind: Literal["done"]
    call: int
    failed: bool
    files: list[FileEntry] = Field(max_length=MOST_FILES)
    unlisted: int = Field(ge=0)


class Data(_Packet):
    kind: Literal["data"]


class End(_Packet):
    kind: Literal["end"]


class Refusal(_Packet):
    kind: Literal["refused"]
    why: str = Field(max_length=1024)


FromInside = Ready | ImagePart | CallFinished | Data | End | Refusal
_ADAPTER: TypeAdapter[FromInside] = TypeAdapter(
    Annotated[FromInside, Field(discriminator="kind")], config=ConfigDict(defer_build=True)
)


def encode(head: dict[str, Any], payload: bytes = b"") -> bytes:
    """Returns the bytes of a packet to the inside."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


class Reader:
    """Takes bytes as they arrive, and returns whole packets. It holds at most one packet of the maximum size."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        self._held += data

    @property
    def room(self) -> int:
        """Returns the number of bytes that may be fed before `next` must be called. It is never 0."""
        return _LENGTHS.size + MAX_HEAD + MAX_PAYLOAD - len(self._held)

    def next(self) -> tuple[FromInside, bytes] | None:
        """Returns the next whole packet, or None. Raises BadPacket."""
        if len(self._held) < _LENGTHS.size:
            return None
        head, payload = _LENGTHS.unpack_from(self._held)
        if head > MAX_HEAD or payload > MAX_PAYLOAD:
            raise BadPacket("a packet is longer than any of ours")
        end = _LENGTHS.size + head + payload
        if len(self._held) < end:
            return None
        start = _LENGTHS.size + head
        try:
            packet = _ADAPTER.validate_json(bytes(self._held[_LENGTHS.size : start]))
        except ValidationError:
            raise BadPacket("a packet is none of ours") from None
        data = bytes(self._held[start:end])
        del self._held[:end]
        return packet, data


def is_below_data(path: str) -> bool:
    """Returns whether a path from inside leads below DATA."""
    return "\x00" not in path and all(part not in ("", ".", "..") for part in path.split("/"))
