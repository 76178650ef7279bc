"""Updates of rows that change often are HOT (heap-only tuples): they change no column that an index of the table uses.

Such an update writes no index and leaves nothing for a vacuum. It also needs room on the row's page, which the tables
reserve by their fillfactor; `scripts/bench turns` shows the share of updates that were HOT.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

import sql
from service.database import Pool
from sql.connection import Connection
from tests.events.thread.story import CREATE, claim, finish, run, submit
from tests.projections.helpers import ORIGIN, writer

ROOT = Path(sql.__file__).parent
INDEX_COLUMNS = """
SELECT relname, attname
FROM pg_index
JOIN pg_class ON pg_class.oid = indrelid
JOIN pg_attribute ON attrelid = indrelid
WHERE relnamespace = 'public'::regnamespace AND (
    attnum = ANY (indkey)
    OR EXISTS (
        SELECT FROM pg_depend
        WHERE objid = indexrelid AND refobjid = indrelid AND refobjsubid = attnum AND classid = 'pg_class'::regclass
    )
)
"""
# Columns that an index uses and that updates change, and why that is accepted.
ACCEPTED = {
    # One row for each run at work, which is deleted with the run's end: supervisors find it by what changes.
    "active_runs": {"expires_at", "process", "status"},
    # An update for each change of a whole object by a client, or of its deletion.
    "files": {"blob"},
    "uploads": {"status"},
    "vector_stores": {"deleted", "expires_at", "in_progress"},
    # Two updates for each file that is indexed, beside all the rows of its chunks.
    "vector_store_files": {"batch_id", "deadline", "process", "status"},
    # An update for each run that ends, by the follower of the log.
    "run_outcomes": {"ended_at", "status"},
    # Four updates for each deletion, by the eraser.
    "erasures": {"cleared_at", "due_at", "erased_at", "released_version"},
    # An update for each legal hold that ends.
    "legal_holds": {"ended_at"},
    # An update for each rename by a person, and for each key in a rotation.
    "projects": {"name"},
    "stream_keys": {"epoch"},
    # An update for each attempt that failed: couriers find deliveries by their time.
    "webhook_deliveries": {"due_at"},
    # The attempt that continues the indexing of a file which another one began.
    "chunks": {"job"},
    "vectors": {"job"},
}


async def test_no_index_uses_a_column_that_updates_change(db: Connection) -> None:
    indexed = defaultdict[str, set[str]](set)
    for row in await db.fetch(INDEX_COLUMNS):
        indexed[row["relname"]].add(row["attname"])
    found = {table: changed & indexed[table] for table, changed in _changed_columns().items()}
    assert {table: columns for table, columns in found.items() if columns} == ACCEPTED


def test_updates_are_read() -> None:
    """The parser of this test finds the columns of every kind of UPDATE."""
    changed = _changed_columns()
    assert {"runs", "steps", "messages", "threads", "streams", "webhook_work"} <= changed.keys()
    assert changed["runs"] == {"patches", "promised"}


def _changed_columns() -> dict[str, set[str]]:
    """Returns the columns that the updates of rows change, by table."""
    changed = defaultdict[str, set[str]](set)
    for path in (*ROOT.glob("rows/*.sql"), *ROOT.glob("queries/*.sql")):
        for table, columns in _updates(re.sub(r"--.*", "", path.read_text())):
            changed[table] |= columns
    return changed


def _updates(text: str) -> Iterator[tuple[str, set[str]]]:
    """Yields table and columns of each UPDATE. An upsert (ON CONFLICT) replaces a whole object, or counts."""
    for found in re.finditer(r"\bUPDATE (\w+)(?: AS \w+)?\s+SET\b", text):
        yield found[1], set(_assigned(text[found.end() :]))


def _assigned(text: str) -> Iterator[str]:
    """Yields the columns to which the assignments at the beginning of the text assign."""
    depth = 0
    is_start = True
    for token in re.finditer(r"\w+|[^\w\s]", text):
        word = token[0]
        depth += (word in "([") - (word in ")]")
        if depth < 0 or word == ";" or (depth == 0 and word.upper() in ("WHERE", "FROM", "RETURNING")):
            return
        if is_start:
            yield word
        is_start = depth == 0 and word == ","


@pytest.fixture
async def only_connection(database_url: str) -> AsyncIterator[Pool]:
    """A pool of one connection, so that its statistics are those of all statements before."""
    pool = Pool(partial(asyncpg.connect, database_url), min_size=1, max_size=1)
    yield pool
    pool.terminate()


async def test_updates_of_runs_and_steps_are_hot(only_connection: Pool) -> None:
    write = writer(only_connection)
    for number in range(20):
        thread = f"thread_{number}"
        await write.thread(ORIGIN, thread, CREATE)
        await write.thread(ORIGIN, thread, run(claim=claim()))
        await write.thread(ORIGIN, thread, finish("", "call_1"))
        await write.thread(ORIGIN, thread, submit("call_1"))
    await only_connection.execute("SELECT pg_stat_force_next_flush()")
    rows = await only_connection.fetch("SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables")
    stats = {row["relname"]: (row["n_tup_upd"], row["n_tup_hot_upd"]) for row in rows}
    for table in ("runs", "steps", "streams"):
        updates, hot = stats[table]
        assert updates > 0
        assert hot > 0.8 * updates, (table, updates, hot)
