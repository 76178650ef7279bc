"""SQL as files: migrations in order, and queries in named blocks (`-- name: append`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


@cache
def queries(file: str) -> dict[str, str]:
    """The named blocks of `queries/<file>.sql`, by name."""
    parts = _NAME.split((files(__name__) / "queries" / f"{file}.sql").read_text())
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


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
