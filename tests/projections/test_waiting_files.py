"""The scan for files to index finds the next ones of each project by size, whatever else waits, by an index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from projections import vector_store_files as files
from sql import queries
from sql.connection import Connection

# A scan reads so many files, of so many stores of a flow.
LIMIT, EACH = 50, 2
# The scan begins at the project and the store that follow this id.
FIRST = "vs_4"
LIVE = [7]


async def add(
    db: Connection, count: int, *, store: str, project: str = "proj_1", large: bool = True, process: int | None = None
) -> None:
    """Adds files that are to be indexed, each to its own store if `store` ends with %."""
    await db.execute(
        "INSERT INTO vector_store_files"
        " (store_id, file_id, project_id, position, filename, status, process, is_large, body)"
        " SELECT replace($1, '%', n::text), $1 || CASE WHEN $4::boolean THEN ' large ' ELSE ' small ' END || n, $2,"
        " n + CASE WHEN $4 THEN 0 ELSE 1000000 END, '', 'in_progress', $5, $4, '{}'"
        " FROM generate_series(1, $3) AS n",
        *(store, project, count, large, process),
    )


async def find(db: Connection, first: str = FIRST) -> list[files.WaitingFile]:
    await db.execute("ANALYZE vector_store_files")
    return await files.find_waiting(db, LIVE, first, limit=LIMIT, each=EACH)


@pytest.mark.parametrize("store", ["vs_1", "vs_large_%"], ids=["one store", "many stores"])
async def test_large_files_hide_no_small_file(db: Connection, store: str) -> None:
    await add(db, 3_000, store=store)
    await add(db, 1, store="vs_1", large=False)
    found = await find(db)
    assert [file.file_id for file in found if not file.is_large] == ["vs_1 small 1"]
    assert len([file for file in found if file.is_large]) > 0


@pytest.mark.parametrize("first", ["vs_0", "vs_4", "zzz"])
async def test_a_project_hides_no_other_project(db: Connection, first: str) -> None:
    await add(db, 3_000, store="vs_1")
    await add(db, 3_000, store="vs_other_%", large=False)
    await add(db, 1, store="vs_2", project="proj_2")
    found = await find(db, first)
    assert {(file.project_id, file.is_large) for file in found[:3]} == {
        ("proj_1", True),
        ("proj_1", False),
        ("proj_2", True),
    }


async def test_the_scan_begins_at_another_project_each_time(db: Connection) -> None:
    for number in range(LIMIT * 2):
        await add(db, 1, store=f"vs_{number}", project=f"proj_{number:03}")
    seen = {file.project_id for first in ("a", "proj_030", "proj_060", "proj_090") for file in await find(db, first)}
    assert len(seen) == LIMIT * 2


async def test_stores_with_fewer_files_in_work_come_first(db: Connection) -> None:
    await add(db, 2, store="vs_a", process=7)
    await db.execute("UPDATE vector_store_files SET file_id = 'started' || position, position = -position")
    await add(db, 9, store="vs_a")
    await add(db, 9, store="vs_b")
    found = await find(db)
    assert [file.store_id for file in found] == ["vs_b", "vs_b", "vs_a", "vs_a"]
    assert [file.file_id for file in found] == ["vs_b large 1", "vs_b large 2", "vs_a large 1", "vs_a large 2"]


async def test_files_of_dead_processes_wait_and_those_of_living_ones_do_not(db: Connection) -> None:
    await add(db, 1, store="vs_dead", process=9)
    await add(db, 1, store="vs_living", process=7)
    assert [(file.store_id, file.process) for file in await find(db)] == [("vs_dead", 9)]


async def test_the_scan_reads_few_of_many_files(db: Connection) -> None:
    for project in range(3):
        await add(db, 5_000, store=f"vs_{project}", project=f"proj_{project}")
        await add(db, 1_000, store=f"vs_{project}_%", project=f"proj_{project}")
        await add(db, 3_000, store=f"vs_{project}", project=f"proj_{project}", large=False)
    await db.execute("UPDATE vector_store_files SET status = 'completed' WHERE position % 2 = 0")
    await db.execute("ANALYZE vector_store_files")
    query = "EXPLAIN (ANALYZE, FORMAT JSON) " + queries("vector_store_files")["find_waiting"]
    [plan] = orjson.loads(await db.fetchval(query, LIVE, LIMIT, FIRST, EACH))
    scans = [node for node in _nodes(plan["Plan"]) if node.get("Relation Name") == "vector_store_files"]
    looks = sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    assert 0 < looks < 500, "of 27,000 files"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
