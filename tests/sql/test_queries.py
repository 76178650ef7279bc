"""Every named block is valid SQL for the real schema, and every block is used."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import sql
from sql.connection import Connection
from sql.row_operations import alone, block_text

ROOT = Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "sql" / "queries").glob("*.sql"))
BLOCKS = [(file, name) for file in FILES for name in sql.queries(file)]
TABLES = sorted(path.stem for path in (ROOT / "sql" / "rows").glob("*.sql"))
ROW_BLOCKS = [f"{table}.{name}" for table in TABLES for name in sql.blocks(table)]


async def test_every_block_prepares(db: Connection) -> None:
    broken = {}
    for file, name in BLOCKS:
        try:
            await db.prepare(sql.queries(file)[name])
        except Exception as error:  # noqa: BLE001 - whatever it is, it names its block
            broken[f"{file}.{name}"] = str(error)
    for block in ROW_BLOCKS:
        try:
            await db.prepare(alone(block))
        except Exception as error:  # noqa: BLE001 - whatever it is, it names its block
            broken[block] = str(error)
    assert broken == {}


@pytest.mark.parametrize("block", ROW_BLOCKS)
def test_a_row_operation_needs_the_head(block: str) -> None:
    text = block_text(block)
    assert block.startswith("streams.") or "EXISTS (SELECT FROM head)" in text
    assert re.match(r"(INSERT INTO|UPDATE|DELETE FROM) " + block.split(".")[0] + r"\b", text), text


def test_block_names_are_unique_in_their_file() -> None:
    for file in FILES:
        text = (ROOT / "sql" / "queries" / f"{file}.sql").read_text()
        assert len(re.findall(r"^-- name: ", text, re.MULTILINE)) == len(sql.queries(file))


def test_every_statement_of_a_search_names_the_stores() -> None:
    statements = {name: block for name, block in sql.queries("search").items() if name != "settings"}
    assert [name for name, block in statements.items() if "store_id = ANY ($" not in block] == []


@cache
def _code(*folders: str) -> str:
    """Returns the text of all modules in the folders."""
    return "\n".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", FILES)
def test_no_block_is_forgotten(file: str) -> None:
    code = _code("events", "projections", "service", "sql")
    for name in sql.queries(file):
        computed = re.sub(r"_[a-z_]+$", "_{", name)  # list_asc is used as f"list_{...}"
        assert f'["{name}"]' in code or f'[f"{computed}' in code, name


def test_no_row_operation_is_forgotten() -> None:
    code = _code("events", "projections", "service/secrets")
    for block in ROW_BLOCKS:
        computed = re.sub(r"_(thread|assistant)$", "_{", block.removesuffix("_many"))
        assert f'"{block.removesuffix("_many")}"' in code or f'f"{computed}' in code, block
