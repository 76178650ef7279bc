"""Every named block is valid SQL for the real schema, and every block is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sql
from sql.connection import Connection

ROOT = Path(__file__).parents[2]
FILES = sorted(path.stem for path in (ROOT / "sql" / "queries").glob("*.sql"))
BLOCKS = [(file, name) for file in FILES for name in sql.queries(file)]


async def test_every_block_prepares(db: Connection) -> None:
    broken = {}
    for file, name in BLOCKS:
        try:
            await db.prepare(sql.queries(file)[name])
        except Exception as error:  # noqa: BLE001 - whatever it is, it names its block
            broken[f"{file}.{name}"] = str(error)
    assert broken == {}


def test_block_names_are_unique_in_their_file() -> None:
    for file in FILES:
        text = (ROOT / "sql" / "queries" / f"{file}.sql").read_text()
        assert len(re.findall(r"^-- name: ", text, re.MULTILINE)) == len(sql.queries(file))


def test_every_statement_of_a_search_names_the_stores() -> None:
    statements = {name: block for name, block in sql.queries("search").items() if name != "settings"}
    assert [name for name, block in statements.items() if "store_id = ANY ($" not in block] == []


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_no_block_is_forgotten(file: str) -> None:
    code = "\n".join(
        path.read_text() for folder in ("events", "projections", "service") for path in (ROOT / folder).rglob("*.py")
    )
    for name in sql.queries(file):
        computed = re.sub(r"_[a-z_]+$", "_{", name)  # list_asc is used as f"list_{...}"
        assert f'["{name}"]' in code or f'[f"{computed}' in code, name
