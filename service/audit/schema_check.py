"""Checks that the tables are what the migrations made, so that no reader gets other rows than those that they hold.

An administrator can put a view in the place of a table, hide rows by a policy, change them on their way by a trigger or
a rule, let other functions stand for those of PostgreSQL, or replace these. The server would read and write through
that as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from service.audit.faults import Fault
from sql import migrations, queries
from sql.connection import Connection

_SQL = queries("schema_check")
_TABLE = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_VIEW = re.compile(r"^CREATE (?:OR REPLACE )?VIEW (\w+) AS\n.*?;\n", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"\b([a-z_0-9]+) ?\(")
# The queries of a verification.
_VERIFYING = ("verify", "log_tree", "attestations", "schema_check")
# The table whose partitions are made at run time: it belongs to the index of searches, which is not verified.
_INDEX = "vectors"
_FAULTS = {
    "is_special": "is no plain table any more: something else was put in its place",
    "is_unlogged": "does not survive a crash any more",
    "has_policies": "has policies, which can hide its rows",
    "has_triggers": "has triggers, which can change rows on their way",
    "has_rules": "has rules, which can change statements on their way",
    "has_relatives": "inherits rows or passes them on",
    "has_generated_columns": "has columns that are computed",
    "has_no_key": "has no valid primary key",
}


@cache
def table_names() -> tuple[str, ...]:
    """Returns the names of the plain tables that the migrations make."""
    own = queries("migrations")
    texts = [*(migration.text for migration in migrations()), own["create"], own["create_pending_rebuilds"]]
    return tuple(sorted({name for text in texts for name in _TABLE.findall(text)} - {_INDEX}))


@cache
def view_texts() -> Mapping[str, str]:
    """Returns the newest texts of the views that the migrations make, by name."""
    found = [match for migration in migrations() for match in _VIEW.finditer(migration.text)]
    return {match[1]: match[0] for match in found}


@cache
def called_names() -> tuple[str, ...]:
    """Returns the names of the functions that the queries of a verification call, and a few words that are none."""
    texts = [text for name in _VERIFYING for text in queries(name).values()]
    return tuple(sorted({name for text in texts for name in _CALL.findall(text)}))


async def check_schema(db: Connection, *, has_views: bool) -> list[Fault]:
    """Checks the tables and what stands for them. The views of the schema are checked if `has_views`.

    They cannot be on a replica, which has no temporary views to compare them with.
    """
    row = await db.fetchrow(_SQL["search_path"])
    assert row is not None
    faults = list[Fault]()

    def report(text: str) -> None:
        faults.append(Fault(None, None, text))

    schemas = [schema for schema in row["schemas"] if not schema.startswith("pg_temp")]
    if schemas[:1] != ["pg_catalog"]:
        report(f"the search path is {', '.join(schemas)}: other functions can stand for those of PostgreSQL")
    if row["replication_role"] != "origin":
        report(f"session_replication_role is {row['replication_role']}, with which constraints are not checked")
    tables = await db.fetch(_SQL["tables"], list(table_names()))
    home = next((table["schema"] for table in tables if table["name"] == "events"), None)
    for table in tables:
        for text in _faults_of(table, home):
            report(f"the table {table['name']} {text}")
    for found in await db.fetch(_SQL["functions"]):
        report(f"the {found['object']} stands for one of PostgreSQL")
    for found in await db.fetch(_SQL["replaced_functions"], list(called_names())):
        report(f"the {found['object']} of PostgreSQL was replaced")
    if has_views:
        for name in await _find_changed_views(db):
            report(f"the view {name} was changed")
    return faults


def _faults_of(table: Mapping[str, Any], home: str | None) -> list[str]:
    if table["schema"] is None:
        return ["is missing"]
    if table["schema"] != home:
        return [f"is in the schema {table['schema']}, and events in {home}"]
    return [text for name, text in _FAULTS.items() if table[name]]


async def _find_changed_views(db: Connection) -> list[str]:
    """Compares each view with one of the text in the migrations, which is temporary."""
    changed = []
    for name, text in view_texts().items():
        real = await db.fetchval(_SQL["view_definition"], name)
        own = db.transaction()
        await own.start()
        try:
            await db.execute(re.sub(r"^CREATE (OR REPLACE )?VIEW", "CREATE TEMPORARY VIEW", text))
            expected = await db.fetchval(_SQL["view_definition"], f"pg_temp.{name}")
        finally:
            await own.rollback()
        if real != expected:
            changed.append(name)
    return changed
