"""A second implementation of docs/log-format.md, written from that document alone: it imports nothing of ours."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

HEAD = ["algorithm", "stream_id", "version", "type", "at", "project_id", "actor", "request_id", "cause"]
FIELDS = [*HEAD, "schema_version", "software_version", "commitment", "previous"]


def commitment_of(content: bytes) -> bytes:
    return sha256(b"everthread/commitment/1\n" + content).digest()


def leaf_of(row: Mapping[str, Any], previous: bytes) -> bytes:
    data = f"everthread/leaf/{row['algorithm']}\n".encode()
    for name in FIELDS if row["algorithm"] == 1 else [*FIELDS, "client"]:
        value = previous if name == "previous" else row[name]
        if isinstance(value, datetime):
            age = value.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
            value = (age.days * 86_400 + age.seconds) * 1_000_000 + age.microseconds
        if isinstance(value, int):
            value = struct.pack(">q", value)
        if isinstance(value, str):
            value = value.encode()
        data += b"\xff" * 4 if value is None else struct.pack(">I", len(value)) + value
    return sha256(b"\x00" + data).digest()
