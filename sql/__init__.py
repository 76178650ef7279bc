"""SQL as files: migrations in order, and queries and row operations in named blocks (`-- name: append`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from sql.sealed_columns import SealedResult

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)
_COMMENT = re.compile(r"^ *--[^\n]*\n", re.MULTILINE)
# Names the sealed columns of a result: `-- sealed: messages($1, message_id): body, patches` (`sql.seals`).
_SEALED = re.compile(r"^-- sealed: (\w+)\(([^)]*)\): (.+)$", re.MULTILINE)
# The sealed columns of the results of queries, those of each table, by the text of the query.
_sealed_results: dict[str, tuple[SealedResult, ...]] = {}


@cache
def queries(file: str) -> dict[str, str]:
    """The named blocks of `queries/<file>.sql`, by name."""
    return _named_blocks("queries", file)


def declare_sealed(query: str, declaration: str) -> str:
    """Notes the sealed columns of the query's result: a line `-- sealed:` for each table. Returns the query."""
    results = []
    for found in _SEALED.finditer(declaration):
        key = (part.strip() for part in found[2].split(","))
        columns = tuple(column.strip() for column in found[3].split(","))
        parsed = tuple(int(part[1:]) if part.startswith("$") else part for part in key)
        results.append(SealedResult(found[1], parsed, columns))
    if results:
        _sealed_results[query] = tuple(results)
    return query


def sealed_results(query: str) -> tuple[SealedResult, ...]:
    """Returns the sealed columns of the result of a named block, those of each table."""
    return _sealed_results.get(query, ())


@cache
def blocks(table: str) -> dict[str, str]:
    """The row operations of a table, `rows/<table>.sql`, by name (`sql.row_operations`)."""
    return _named_blocks("rows", table)


def _named_blocks(folder: str, file: str) -> dict[str, str]:
    parts = _NAME.split((files(__name__) / folder / f"{file}.sql").read_text())
    texts = [_COMMENT.sub("", text).strip() for text in parts[2::2]]
    for text, commented in zip(texts, parts[2::2], strict=True):
        declare_sealed(text, commented)
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
