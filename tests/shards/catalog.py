"""The catalog of a migrated database: the tables and views, and what breaks a rule of Citus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pglast

from sql.connection import Connection
from tests.shards.tables import Placement

_RELATIONS = """
SELECT relname AS name, relkind = 'v' AS is_view, pg_get_viewdef(pg_class.oid) AS definition,
    array_agg(attname ORDER BY attnum) AS columns, array_agg(atttypid::regtype::text ORDER BY attnum) AS types
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
GROUP BY pg_class.oid
"""
_UNIQUE_INDEXES = """
SELECT indrelid::regclass::text AS table, indexrelid::regclass::text AS index,
    ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)) AS columns
FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE (indisunique OR indisexclusion) AND relnamespace = 'public'::regnamespace
"""
_TRIGGERS = """
SELECT tgrelid::regclass::text AS table, tgname AS name FROM pg_trigger WHERE NOT tgisinternal
"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text AS table, confrelid::regclass::text AS other, conname AS name,
    ARRAY(SELECT attname FROM unnest(conkey) AS number JOIN pg_attribute ON attrelid = conrelid AND attnum = number)
        AS columns,
    ARRAY(SELECT attname FROM unnest(confkey) AS number JOIN pg_attribute ON attrelid = confrelid AND attnum = number)
        AS others
FROM pg_constraint WHERE contype = 'f'
"""
_IDENTITIES = """
SELECT attrelid::regclass::text AS table, attname AS column, atttypid::regtype::text AS type
FROM pg_attribute WHERE attidentity <> ''
"""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The columns of each table with their types, and the definition of each view, parsed."""

    tables: Mapping[str, Mapping[str, str]]
    views: Mapping[str, Any]


async def read_catalog(db: Connection) -> Catalog:
    """Reads the tables and views of the schema `public` that belong to no extension."""
    rows = await db.fetch(_RELATIONS)
    return Catalog(
        tables={
            row["name"]: dict(zip(row["columns"], row["types"], strict=True)) for row in rows if not row["is_view"]
        },
        views={row["name"]: pglast.parse_sql(row["definition"])[0].stmt for row in rows if row["is_view"]},
    )


async def find_violations(db: Connection, placements: Mapping[str, Placement]) -> list[str]:
    """Returns a line for each thing in the catalog that Citus would refuse if its tables were placed so."""
    catalog = await read_catalog(db)
    found = list(_check_places(catalog, placements))
    distributed = {name: placed for name, placed in placements.items() if placed.kind == "distributed"}
    for row in await db.fetch(_UNIQUE_INDEXES):
        if row["table"] in distributed and distributed[row["table"]].column not in row["columns"]:
            found.append(f"the unique index {row['index']} lacks the distribution column of {row['table']}")
    found += [f"{row['table']} has the trigger {row['name']}" for row in await db.fetch(_TRIGGERS)]
    for row in await db.fetch(_FOREIGN_KEYS):
        if not _is_colocated(row["table"], row["columns"], row["other"], row["others"], placements):
            found.append(f"the foreign key {row['name']} leads to another shard")
    for row in await db.fetch(_IDENTITIES):
        if row["type"] != "bigint":
            found.append(f"the identity {row['table']}.{row['column']} is a {row['type']}")
    return found


def _check_places(catalog: Catalog, placements: Mapping[str, Placement]) -> Iterator[str]:
    for name in sorted(catalog.tables.keys() ^ placements.keys()):
        yield f"{name} has no place" if name in catalog.tables else f"{name} has a place and does not exist"
    for name, placed in placements.items():
        if placed.kind == "distributed" and name in catalog.tables:
            columns = catalog.tables[name]
            if placed.column not in columns:
                yield f"{name} has no column {placed.column}"
            elif placed.colocated not in ("none", name):
                other = placements[placed.colocated]
                if columns[placed.column] != catalog.tables[placed.colocated][other.column]:
                    yield f"{name} is colocated with a column of another type"


def _is_colocated(
    table: str, columns: Sequence[str], other: str, others: Sequence[str], placements: Mapping[str, Placement]
) -> bool:
    one, two = placements.get(table), placements.get(other)
    if one is None or two is None:
        return False
    if two.kind == "reference" or (one.kind, two.kind) == ("local", "local"):
        return True
    is_group = one.kind == two.kind == "distributed" and one.colocated == two.colocated != "none"
    return is_group and (one.column, two.column) in zip(columns, others, strict=True)
