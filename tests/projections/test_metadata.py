"""Filters over many threads: the indexes serve them for any number of matches, and the view follows the log."""

from __future__ import annotations

from typing import Any

import pytest

from events.assistant import DeleteAssistant, ModifyAssistant
from events.thread.commands import CreateThread, DeleteThread, ModifyThread
from projections import metadata, threads
from projections.metadata import Filter, hash_pair, shorten_hash
from projections.rebuild import verify
from projections.rows import Cursor
from service.database import Pool
from sql import legacy_migrations, queries
from sql.connection import Connection
from tests.projections.helpers import ORIGIN, make_assistant, writer

MANY = 20_000
# The pair n differs for each thread; half and all are shared as their names say. Ids begin with the thread's number.
_FILL = """
INSERT INTO threads (thread_id, project_id, created_at, body)
SELECT 'thread_' || lpad(n::text, 6, '0'), 'proj_1', timestamptz '2026-01-01' + n * interval '1 second',
       convert_to(json_build_object(
           'id', 'thread_' || lpad(n::text, 6, '0'), 'created_at', n,
           'metadata', json_build_object('n', n::text, 'half', (n % 2)::text, 'all', 'x'), 'tool_resources', '{}'::json
       )::text, 'UTF8')
FROM generate_series(1, $1) AS n
"""
_PAIRS = """
WITH found AS (
    SELECT thread_id, project_id, created_at,
           sha256(convert_to(key, 'UTF8') || '\\x00'::bytea || convert_to(value, 'UTF8')) AS pair
    FROM threads CROSS JOIN json_each_text(convert_from(body, 'UTF8')::json -> 'metadata')
)
INSERT INTO metadata_pairs (stream_id, pair, kind, project_id, created_at, together)
SELECT thread_id, pair, 'thread', project_id, created_at,
       array_agg(encode(substring(pair FOR 16), 'hex')::uuid) OVER (PARTITION BY thread_id)
FROM found
"""


async def _plan(db: Connection, query: str, *args: Any, options: str = "") -> str:
    """Returns the plan of a prepared statement that has run often, which is the generic one."""
    await db.execute("SET plan_cache_mode = force_generic_plan")
    try:
        return "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {options} {query}", *args))
    finally:
        await db.execute("RESET plan_cache_mode")


@pytest.mark.slow
async def test_filters_are_served_by_indexes(db: Connection) -> None:
    await db.execute(_FILL, MANY)
    await db.execute(_PAIRS)
    await db.execute("VACUUM ANALYZE metadata_pairs")
    await db.execute("ANALYZE threads")
    for pairs in ([("n", "77")], [("all", "x")], [("all", "x"), ("half", "1")], [("all", "x"), ("n", "77")]):
        found = Filter(tuple(pairs))
        page = await threads.page(db, "proj_1", Cursor(20), found)
        wanted = [n for n in range(MANY, 0, -1) if all(_has(n, *pair) for pair in pairs)]
        assert [one.created_at for one in page.items] == wanted[:20]
        assert await metadata.count_threads(db, "proj_1", found) == len(wanted)
        hashes = [hash_pair(*pair) for pair in pairs]
        args = ("proj_1", hashes[0], [*map(shorten_hash, hashes)], *found.bounds(None, None), 21)
        for scan in ("asc", "desc"):
            plan = await _plan(db, queries("metadata")[f"list_thread_{scan}"], *args)
            assert "metadata_pairs_in_order" in plan, plan
            rows, _, attachments = plan.partition("SubPlan")
            assert "Seq Scan" not in plan, plan
            assert "Sort" not in rows, plan
            assert "thread_attachments_pkey" in attachments, plan
    never = [hash_pair("half", "0"), hash_pair("half", "1")]
    args = ("proj_1", never[0], [*map(shorten_hash, never)], *Filter().bounds(None, None), 21)
    plan = await _plan(db, queries("metadata")["list_thread_desc"], *args, options="(ANALYZE)")
    assert "Index Only Scan Backward using metadata_pairs_in_order" in plan, plan
    assert "(never executed)" in plan, "each of them common, never together: nothing is looked up"
    assert "Rows Removed by Filter: 10000" in plan, plan
    plain = await _plan(db, queries("threads")["list_desc"], "proj_1", *Filter().bounds(None, None), 21)
    assert "threads_in_order" in plain, plain
    assert "Seq Scan" not in plain, plain


def _has(n: int, key: str, value: str) -> bool:
    return {"n": str(n), "half": str(n % 2), "all": "x"}[key] == value


async def test_pairs_follow_the_log(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await write.thread(ORIGIN, "thread_1", CreateThread({"a": "1", "b": "2"}, {}, ()))
    await make_assistant(write, "asst_1", metadata={"a": "1"})
    modifications: list[dict[str, Any]] = [{"metadata": {"a": "1", "c": "3"}}, {"tool_resources": {}}, {"metadata": {}}]
    for changes in modifications:
        await write.thread(ORIGIN, "thread_1", ModifyThread(changes))
        await write.assistant(ORIGIN, "asst_1", ModifyAssistant(changes))
        for id in ("thread_1", "asst_1"):
            assert await verify(db, id) == []
    await write.thread(ORIGIN, "thread_1", ModifyThread({"metadata": {"a": "1"}}))
    await db.execute("DELETE FROM metadata_pairs")
    [lost] = await verify(db, "thread_1")
    assert (lost.view, lost.id, lost.served) == ("metadata_pairs", hash_pair("a", "1").hex(), None)
    await write.thread(ORIGIN, "thread_1", DeleteThread())
    await write.assistant(ORIGIN, "asst_1", DeleteAssistant())
    assert await db.fetchval("SELECT count(*) FROM metadata_pairs") == 0


async def test_the_migration_makes_what_writing_makes(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await write.thread(ORIGIN, "thread_1", CreateThread({"a": "1", "b": "2", "c": "3"}, {}, ()))
    await db.execute("DROP INDEX metadata_pairs_in_order")
    await db.execute("ALTER TABLE metadata_pairs DROP COLUMN together")
    await db.execute("CREATE INDEX metadata_pairs_in_order ON metadata_pairs (stream_id)")
    [migration] = [one for one in legacy_migrations() if one.name == "0040_metadata_together.sql"]
    await db.execute(migration.text)
    assert await verify(db, "thread_1") == []
