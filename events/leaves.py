"""Commitments to contents and the leaves of the log: the hashes that show later that no event was changed.

An event's content is a random salt and the exact bytes of its JSON. The commitment is a hash of both. The leaf is a
hash of the commitment, of every other column of the event, and of the leaf of the stream's previous event. It does not
cover the content itself, so it stays valid if the content is encrypted, encrypted again under another key, or
destroyed. Without the salt, a reader of the log could guess a short text and compare hashes.

docs/log-format.md specifies both to the byte, with test vectors. The hash of a leaf is that of RFC 6962, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

# The algorithm that is stored with an event: SHA-256 with the domains and the encoding of this module. 1 is that of
# older software, whose events have no `client`.
ALGORITHM = 2
SALT_BYTES = 32
# The `previous` of a stream's first event.
NO_LEAF = b""

_COMMITMENT_DOMAIN = b"everthread/commitment/1\n"
_LEAF_DOMAINS = {1: b"everthread/leaf/1\n", 2: b"everthread/leaf/2\n"}
_LEAF_PREFIX = b"\x00"  # RFC 6962 hashes inner nodes with another prefix
_NULL = b"\xff\xff\xff\xff"
# A copy of a hash that has begun takes half the time of a new one, for which OpenSSL looks up the algorithm.
_CONTENT_HASH = sha256(_COMMITMENT_DOMAIN)
_LEAF_HASH = sha256(_LEAF_PREFIX)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The columns of an event that its leaf covers, without `commitment` and `previous`.

    `client` is the commitment to the client of the request (`events.clients`), null if none is recorded.
    """

    algorithm: int
    stream_id: str
    version: int
    type: str
    at: datetime
    project_id: str
    actor: str
    request_id: str | None
    cause: str | None
    client: bytes | None
    schema_version: int
    software_version: str


class StoredEvent(NamedTuple):
    """The columns of an event in the order of the block `events` of sql/queries/verify.sql."""

    stream_id: str
    version: int
    type: str
    at: datetime
    project_id: str
    actor: str
    request_id: str | None
    cause: str | None
    client: bytes | None
    schema_version: int
    software_version: str
    algorithm: int
    content: bytes
    commitment: bytes
    leaf: bytes


def salt_content(json: bytes, salt: bytes) -> bytes:
    """Returns the content to store. Raises ValueError if the salt does not have SALT_BYTES bytes."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"the salt has {len(salt)} bytes, not {SALT_BYTES}")
    return salt + json


def content_json(content: bytes) -> bytes:
    """Returns the JSON bytes of a stored content."""
    return content[SALT_BYTES:]


def commit(content: bytes) -> bytes:
    """Returns the commitment to a stored content: 32 bytes."""
    hashed = _CONTENT_HASH.copy()
    hashed.update(content)
    return hashed.digest()


def encode_entry(envelope: Envelope, commitment: bytes, previous: bytes) -> bytes:
    """Returns the log entry of an event, whose leaf hash is the event's leaf.

    `previous` is the leaf of the version before, NO_LEAF for version 1. Raises ValueError if the algorithm is unknown,
    or if it does not cover the client that is given.
    """
    return _encode(
        envelope.algorithm,
        envelope.stream_id,
        envelope.version,
        envelope.type,
        envelope.at,
        envelope.project_id,
        envelope.actor,
        envelope.request_id,
        envelope.cause,
        envelope.client,
        envelope.schema_version,
        envelope.software_version,
        commitment,
        previous,
    )


def hash_leaf(envelope: Envelope, commitment: bytes, previous: bytes) -> bytes:
    """Returns the leaf of an event: 32 bytes. `previous` is the leaf of the version before, NO_LEAF for version 1."""
    hashed = _LEAF_HASH.copy()
    hashed.update(encode_entry(envelope, commitment, previous))
    return hashed.digest()


class LeafHasher:
    """Hashes the stored events of one stream after each other. It keeps the encodings of fields that they share."""

    def __init__(self) -> None:
        self._shared: tuple[Any, ...] | None = None
        self._at: datetime | None = None
        self._beginning = self._time = self._origin = self._end = b""

    def hash(self, event: StoredEvent, previous: bytes) -> bytes:
        """Returns the leaf of an event. See `hash_leaf`.

        Raises ValueError as `encode_entry`, and TypeError if the time is infinite.
        """
        id, version, type, at, project, actor, request, cause, client, schema, software, algorithm = event[:12]
        shared = (id, project, actor, request, cause, client, schema, software, algorithm)
        if shared != self._shared:
            self._share(event)
            self._shared = shared
        if at != self._at:
            self._time = _time(at)
            self._at = at
        commitment = event.commitment
        hashed = _LEAF_HASH.copy()
        hashed.update(
            b"".join(
                (
                    self._beginning,
                    _number(version),
                    _text(type),
                    self._time,
                    self._origin,
                    len(commitment).to_bytes(4, "big"),
                    commitment,
                    len(previous).to_bytes(4, "big"),
                    previous,
                    self._end,
                )
            )
        )
        return hashed.digest()

    def _share(self, event: StoredEvent) -> None:
        self._shared = None  # an error leaves nothing half done
        self._beginning = _first_fields(event.algorithm, event.stream_id)
        origin = _origin_fields(event.project_id, event.actor, event.request_id, event.cause)
        self._origin = origin + _software_fields(event.schema_version, event.software_version)
        self._end = _last_field(event.algorithm, event.client)


def _encode(
    algorithm: int,
    stream_id: str,
    version: int,
    type: str,
    at: datetime,
    project_id: str,
    actor: str,
    request_id: str | None,
    cause: str | None,
    client: bytes | None,
    schema_version: int,
    software_version: str,
    commitment: bytes,
    previous: bytes,
) -> bytes:
    first = _first_fields(algorithm, stream_id)
    origin = _origin_fields(project_id, actor, request_id, cause)
    software = _software_fields(schema_version, software_version)
    chain = _prefix_length(commitment) + _prefix_length(previous) + _last_field(algorithm, client)
    return first + _number(version) + _text(type) + _time(at) + origin + software + chain


# The events of a stream and of an append have most fields in common, so their encodings are kept.
@lru_cache(maxsize=1024)
def _first_fields(algorithm: int, stream_id: str) -> bytes:
    if algorithm not in _LEAF_DOMAINS:
        raise ValueError(f"algorithm {algorithm} is unknown to this software")
    return _LEAF_DOMAINS[algorithm] + _number(algorithm) + _text(stream_id)


@lru_cache(maxsize=1024)
def _origin_fields(project_id: str, actor: str, request_id: str | None, cause: str | None) -> bytes:
    return _text(project_id) + _text(actor) + _text(request_id) + _text(cause)


@lru_cache(maxsize=64)
def _software_fields(schema_version: int, software_version: str) -> bytes:
    return _number(schema_version) + _text(software_version)


def _last_field(algorithm: int, client: bytes | None) -> bytes:
    if algorithm != 1:
        return _prefix_length(client)
    if client is not None:
        raise ValueError("algorithm 1 does not cover a client")
    return b""


@lru_cache(maxsize=1024)
def _number(value: int) -> bytes:
    return _prefix_length(value.to_bytes(8, "big", signed=True))


@lru_cache(maxsize=1024)
def _text(value: str | None) -> bytes:
    return _prefix_length(None if value is None else value.encode())


@lru_cache(maxsize=64)
def _time(at: datetime) -> bytes:
    return _number((at - _EPOCH) // _MICROSECOND)


def _prefix_length(field: bytes | None) -> bytes:
    return _NULL if field is None else len(field).to_bytes(4, "big") + field
