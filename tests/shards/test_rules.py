"""The rules of Citus, over the catalog and over every statement: docs/scaling.md, "The rules"."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import sql
from projections.mixes import MIXES, statement_mixes
from service.database import connect
from sql.connection import Connection
from sql.row_operations import alone, compose
from tests.fixtures.postgres import copied_database
from tests.shards.catalog import Catalog, find_violations, read_catalog
from tests.shards.fan_outs import FAN_OUTS
from tests.shards.statements import Occurrence, Statement, read_statement
from tests.shards.tables import Placement, read_placements

SQL = Path(sql.__file__).parent
# Columns and functions that order by transactions: their order is not that of commits, and differs between servers.
TRANSACTION_COLUMNS = {"xid", "xmin", "xmax", "ctid"}
TRANSACTION_FUNCTIONS = re.compile(r"txid_|pg_current_xact|pg_snapshot|pg_xact|pg_visible_in_snapshot")
PLACEMENTS = read_placements()
DECLARED = {name for names in FAN_OUTS.values() for name in names}


@pytest.fixture(scope="module")
def catalog(postgres: str) -> Catalog:
    """The catalog of a migrated database."""

    async def read() -> Catalog:
        async with copied_database(postgres) as url:
            db = await connect(url)
            try:
                return await read_catalog(db)
            finally:
                await db.close()

    return asyncio.run(read())


@pytest.fixture(scope="module")
def statements(catalog: Catalog) -> Mapping[str, Statement]:
    """All statements, by their names."""
    return {name: read_statement(text, catalog, PLACEMENTS) for name, text in _texts()}


def _texts() -> Iterator[tuple[str, str]]:
    """Yields the name and the text of each statement."""
    for file in sorted(path.stem for path in (SQL / "queries").glob("*.sql")):
        yield from ((f"{file}.{name}", text) for name, text in sql.queries(file).items())
    for table in sorted(path.stem for path in (SQL / "rows").glob("*.sql")):
        yield from ((f"rows.{table}.{name}", alone(f"{table}.{name}")) for name in sql.blocks(table))
    for stream_type in MIXES:
        yield from ((f"{stream_type.name} {' '.join(mix)}", compose(mix)) for mix in statement_mixes(stream_type))


def _is_named(one: Occurrence, all: list[Occurrence]) -> bool:
    """Whether the statement names the shard key of a table, or the project of its rows or of rows joined to them."""
    return any(bool(other.keys or other.projects) for other in all if other.group == one.group)


async def test_the_catalog_breaks_no_rule(db: Connection) -> None:
    assert await find_violations(db, PLACEMENTS) == []


def test_a_statement_names_its_shard_or_is_a_declared_fan_out(statements: Mapping[str, Statement]) -> None:
    undeclared, unneeded = [], set(DECLARED)
    for name, statement in statements.items():
        distributed = statement.of_kind("distributed", PLACEMENTS)
        if all(_is_named(one, distributed) for one in distributed):
            continue
        unneeded.discard(name)
        if name not in DECLARED:
            undeclared.append(name)
    assert undeclared == []
    assert sorted(unneeded) == []


def test_an_append_names_its_stream_for_each_table(catalog: Catalog) -> None:
    for stream_type in MIXES:
        for mix in statement_mixes(stream_type):
            for one in read_statement(compose(mix), catalog, PLACEMENTS).of_kind("distributed", PLACEMENTS):
                assert any(key[0] != "constant" for key in one.keys), (mix, one.table)


def test_a_statement_changes_rows_of_one_kind_of_table(statements: Mapping[str, Statement]) -> None:
    """Those of distributed tables in one shard, or those of copies, or those of the coordinator."""
    for name, statement in statements.items():
        assert len({PLACEMENTS[table].kind for table in statement.writes}) <= 1, name


def test_a_statement_that_changes_a_distributed_table_reads_no_local_one(statements: Mapping[str, Statement]) -> None:
    for name, statement in statements.items():
        if any(PLACEMENTS[table].kind == "distributed" for table in statement.writes):
            assert [one.table for one in statement.of_kind("local", PLACEMENTS)] == [], name


def test_no_statement_reads_the_order_of_transactions(statements: Mapping[str, Statement]) -> None:
    for name, statement in statements.items():
        assert statement.columns & TRANSACTION_COLUMNS == set(), name
        assert [each for each in statement.functions if TRANSACTION_FUNCTIONS.match(each)] == [], name


# A change that breaks each rule, and the line that says so.
BROKEN = {
    "CREATE UNIQUE INDEX planted ON messages (message_id)": "the unique index planted lacks",
    "CREATE TRIGGER planted BEFORE UPDATE ON events FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()": "events has the trigger planted",
    "ALTER TABLE runs ADD CONSTRAINT planted FOREIGN KEY (run_id) REFERENCES threads": "the foreign key planted",
    "ALTER TABLE steps ADD COLUMN planted integer GENERATED ALWAYS AS IDENTITY": "the identity steps.planted",
    "CREATE TABLE planted (id bigint PRIMARY KEY)": "planted has no place",
    "DROP TABLE key_uses": "key_uses has a place and does not exist",
}


async def test_a_broken_rule_is_found(db: Connection) -> None:
    for change, expected in BROKEN.items():
        transaction = db.transaction()
        await transaction.start()
        await db.execute(change)
        found = await find_violations(db, PLACEMENTS)
        await transaction.rollback()
        assert [line.startswith(expected) for line in found] == [True], (change, found)


async def test_a_foreign_key_between_rows_of_a_stream_is_allowed(db: Connection) -> None:
    await db.execute("ALTER TABLE runs ADD FOREIGN KEY (thread_id) REFERENCES threads (thread_id)")
    assert await find_violations(db, PLACEMENTS) == []


UNKEYED = (
    "SELECT * FROM messages WHERE message_id = $1",
    "SELECT * FROM messages WHERE thread_id = $1 OR run_id = $2",
    "SELECT * FROM messages WHERE NOT thread_id = $1",
    "SELECT * FROM messages JOIN events ON events.version = messages.position WHERE thread_id = $1",
    "WITH found AS (SELECT * FROM runs WHERE thread_id = $1)"
    " DELETE FROM steps USING found WHERE steps.run_id = found.run_id",
    "UPDATE messages SET deleted = true WHERE message_id IN (SELECT message_id FROM messages WHERE thread_id = $1)",
)


@pytest.mark.parametrize("text", UNKEYED)
def test_a_statement_without_its_key_is_found(catalog: Catalog, text: str) -> None:
    found = read_statement(text, catalog, PLACEMENTS).of_kind("distributed", PLACEMENTS)
    assert not all(_is_named(one, found) for one in found)


KEYED = (
    "SELECT * FROM messages WHERE thread_id = $1 AND ($2::text IS NULL OR run_id = $2)",
    "SELECT * FROM runs JOIN steps USING (thread_id, run_id) WHERE thread_id = ANY ($1::text[])",
    "SELECT * FROM unnest($1::text[], $2::text[]) AS new (thread_id, run_id) JOIN runs USING (thread_id, run_id)",
    "DELETE FROM runs WHERE (thread_id, run_id) IN (SELECT thread_id, run_id FROM runs WHERE thread_id = $1 LIMIT $2)",
    "INSERT INTO usage_runs SELECT * FROM unnest($1::text[], $2::text[]) AS new (thread_id, run_id)",
    "WITH thread AS (SELECT $1::text AS id) SELECT * FROM events JOIN thread ON events.stream_id = thread.id",
)


@pytest.mark.parametrize("text", KEYED)
def test_a_statement_with_its_key_is_known(catalog: Catalog, text: str) -> None:
    found = read_statement(text, catalog, PLACEMENTS).of_kind("distributed", PLACEMENTS)
    assert found
    assert all(one.keys for one in found)


def test_every_placement_is_of_a_known_kind() -> None:
    assert {placed.kind for placed in PLACEMENTS.values()} == {"distributed", "reference", "local"}
    assert all((placed.column != "") == (placed.kind == "distributed") for placed in PLACEMENTS.values())
    assert isinstance(PLACEMENTS["events"], Placement)
