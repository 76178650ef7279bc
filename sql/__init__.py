"""SQL as files: migrations in order, and queries in named blocks (`-- name: append`)."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


@cache
def queries(file: str) -> dict[str, str]:
    """The named blocks of `queries/<file>.sql`, by name."""
    parts = _NAME.split((files(__name__) / "queries" / f"{file}.sql").read_text())
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


def query_files() -> list[str]:
    """The names of all query files, for the test that prepares every block."""
    found = (files(__name__) / "queries").iterdir()
    return sorted(entry.name.removesuffix(".sql") for entry in found if entry.name.endswith(".sql"))


def migrations() -> list[tuple[str, str]]:
    """(name, text) of every migration, in the order to apply them."""
    found = (files(__name__) / "migrations").iterdir()
    return sorted((entry.name, entry.read_text()) for entry in found if entry.name.endswith(".sql"))
