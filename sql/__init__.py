"""SQL as files: migrations in order, and queries and row operations in named blocks (`-- name: append`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *--[^\n]*\n", re.MULTILINE)


@cache
def queries(file: str) -> dict[str, str]:
    """The named blocks of `queries/<file>.sql`, by name."""
    return _named_blocks("queries", file)


@cache
def blocks(table: str) -> dict[str, str]:
    """The row operations of a table, `rows/<table>.sql`, by name (`sql.row_operations`)."""
    return _named_blocks("rows", table)


def _named_blocks(folder: str, file: str) -> dict[str, str]:
    parts = _NAME.split((files(__name__) / folder / f"{file}.sql").read_text())
    texts = (_COMMENT.sub("", text).strip() for text in parts[2::2])
    return dict(zip(parts[1::2], texts, strict=True))


@dataclass(frozen=True, slots=True)
class Migration:
    """A migration file: its name, its text and the sha256 of its bytes, in hex."""

    name: str
    text: str
    sha256: str


def migrations() -> list[Migration]:
    """Returns the baseline and the migrations after it, in the order to apply them."""
    return _migration_files("migrations")


def legacy_migrations() -> list[Migration]:
    """Returns the migrations that made the schema before the baseline, in order, then the repairs that follow them."""
    return _migration_files("migrations", "legacy")


@cache
def _migration_files(*folder: str) -> list[Migration]:
    entries = (entry for entry in files(__name__).joinpath(*folder).iterdir() if entry.name.endswith(".sql"))
    contents = sorted((entry.name, entry.read_bytes()) for entry in entries)
    return [Migration(name, content.decode(), sha256(content).hexdigest()) for name, content in contents]
