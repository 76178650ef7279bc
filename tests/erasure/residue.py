"""Looks for texts wherever they may be left: in a dump, in files, and in the forms that programs give to texts."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from sql.connection import Connection

_TABLES = """
SELECT format('%I.%I', nspname, relname) AS name
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1
"""


def forms(text: str) -> list[bytes]:
    """Returns bytes that a text leads to whatever surrounds it: plain, in hexadecimal, in base64, and backwards."""
    plain = text.encode()
    found = [plain, plain.hex().encode(), plain.hex().upper().encode(), orjson.dumps(text)[1:-1], plain[::-1]]
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + plain)
        # The first and the last characters depend on the bytes beside the text.
        found.append(encoded[(0, 2, 3)[before] : -4])
    return found


def has_residue(data: bytes, text: str) -> bool:
    """Whether the bytes hold the text in one of its forms, or compressed as a whole."""
    if any(form in data for form in forms(text)):
        return True
    return any(form in data for form in (zlib.compress(text.encode())[2:-4], gzip.compress(text.encode())[10:-8]))


async def tables_with(db: Connection, text: str) -> set[str]:
    """Returns the tables of which a row has the text, with the columns of the type bytea as their bytes."""
    found = set()
    for table in [row["name"] for row in await db.fetch(_TABLES)]:
        for row in await db.fetch(f"SELECT * FROM {table}"):
            if has_residue(b"|".join(map(_bytes, row.values())), text):
                found.add(table)
    return found


def files_with(folders: Iterable[Path], text: str) -> set[str]:
    """Returns the files below the folders that have the text in their names or their bytes."""
    found = set()
    for folder in folders:
        for file in folder.rglob("*"):
            try:
                data = file.read_bytes() if file.is_file() else b""
            except OSError:  # deleted meanwhile, or a socket
                continue
            if text in str(file) or has_residue(data, text):
                found.add(str(file.relative_to(folder)))
    return found


def _bytes(value: Any) -> bytes:
    if isinstance(value, list):
        return b"|".join(map(_bytes, value))
    if isinstance(value, bytes):
        try:
            return value + b"|" + zlib.decompress(value)
        except zlib.error:
            return value
    return str(value).encode()
