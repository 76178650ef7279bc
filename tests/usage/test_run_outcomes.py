"""The reports of runs: counts by status, times and causes, from the log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from events.thread import events as e
from events.thread.commands import DeleteThread
from projections import run_outcomes, usage
from projections.run_outcomes import OutcomeFilter
from service.database import Pool
from service.usage import follower
from service.usage.follower import UsageFollower, rebuild_usage
from sql import queries
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.projections.helpers import ORIGIN, OTHER, writer
from tests.usage.test_follower import CENTURY_S, run_thread, sums, two_calls

FIRST = 1_700_000_000  # Unix seconds
ALWAYS = OutcomeFilter(since=datetime(2000, 1, 1, tzinfo=UTC), until=datetime(3000, 1, 1, tzinfo=UTC))


async def counts(db: Connection, **only: Any) -> list[tuple[str | None, int, int]]:
    found = await run_outcomes.report(db, replace(ALWAYS, **only), step_s=CENTURY_S, groups=["project_id"])
    return [(each.project_id, each.runs, each.completed) for each in found]


async def test_runs_are_counted_once_they_have_ended(pool: Pool, db: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(follower, "PAGE_RANGES", 1)
    await run_thread(pool, "thread_1")
    await run_thread(pool, "thread_2", origin=OTHER)
    await seal(db)
    await UsageFollower(pool).scan()
    assert await counts(db) == [("proj_1", 1, 1), ("proj_2", 1, 1)]
    assert await counts(db, projects=["proj_2"]) == [("proj_2", 1, 1)]
    assert await counts(db, models=["gpt-test"], assistants=["asst_1"]) == await counts(db)
    assert await counts(db, assistants=["asst_2"]) == await counts(db, keys=["key_1"]) == []
    assert (await run_outcomes.failures(db, ALWAYS, groups=[], limit=10)).groups == []
    [found] = await run_outcomes.report(db, ALWAYS, step_s=CENTURY_S, groups=[])
    assert found.run_ms is not None
    assert found.wait_ms is not None
    assert len(found.run_ms) == len(found.wait_ms) == 3


async def test_pages_change_no_row_of_a_report(pool: Pool, db: Connection, monkeypatch: Any) -> None:
    """A run in one page of the log is written once, and has the same row as one whose events come page by page."""
    rows = []
    for number, page in enumerate((500, 1)):
        monkeypatch.setattr(follower, "PAGE_RANGES", page)
        await run_thread(pool, f"thread_{number}")
        await seal(db)
        await UsageFollower(pool).scan()
        rows += await db.fetch("SELECT *, ctid FROM run_outcomes WHERE thread_id = $1", f"thread_{number}")
    once, often = rows
    assert once["ctid"] == (0, 1)
    assert often["ctid"] > (0, 2), "updated"
    assert often["created_at"] <= often["started_at"] <= often["ended_at"]
    assert (once["status"], often["status"]) == ("completed", "completed")
    for run in rows:
        [start] = await db.fetch(
            "SELECT at FROM events WHERE stream_id = $1 AND type = 'run.started' ORDER BY version LIMIT 1", run[0]
        )
        assert run["started_at"] == start["at"], "the first start, not the one after the tool outputs"


async def test_followers_at_one_place_share_a_read(pool: Pool, db: Connection) -> None:
    """Followers at different places add the same rows, and are at one place afterwards."""
    await run_thread(pool, "thread_1")
    await seal(db)
    await usage.FOLLOWER.follow(db, 2)
    await run_thread(pool, "thread_2")
    await seal(db)
    await UsageFollower(pool).scan()
    assert await sums(db) == [two_calls(2)]
    assert await counts(db) == [("proj_1", 2, 2)]
    places = "SELECT next_index FROM usage_progress UNION SELECT next_index FROM run_outcome_progress"
    assert len(await db.fetch(places)) == 1


async def add_failed(db: Connection, *times: int, project: str = "proj_1") -> None:
    """Adds runs that failed so many seconds after FIRST."""
    for second in times:
        await db.execute(
            "INSERT INTO run_outcomes VALUES ($1, 'run_1', $3, NULL, 'asst_1', 'm', now(), now(),"
            " to_timestamp($2::bigint), 'failed', 'server_error')",
            f"thread_{project}_{second}",
            FIRST + second,
            project,
        )


async def test_failures_name_the_newest_run(db: Connection) -> None:
    await add_failed(db, 1, 2)
    found = await run_outcomes.failures(db, ALWAYS, groups=["model"], limit=10)
    [group] = found.groups
    assert (group.runs, group.cause, group.model, group.assistant_id) == (2, "server_error", "m", None)
    assert group.thread_id == "thread_proj_1_2"
    assert found.counted_from == ALWAYS.since


@pytest.mark.parametrize(
    ("projects", "runs", "first"),
    [
        (None, 4, 5),
        (["proj_1"], 4, 3),
        (["proj_1", "proj_1", "proj_2"], 4, 5),
        (["proj_2"], 2, None),
        (["proj_3"], 0, None),
        ([], 0, None),
    ],
)
async def test_the_newest_failures_are_counted(
    db: Connection, monkeypatch: Any, projects: list[str] | None, runs: int, first: int | None
) -> None:
    monkeypatch.setattr(run_outcomes, "MAX_FAILED_RUNS", 4)
    await add_failed(db, 1, 2, 3, 4, 5, 6)
    await add_failed(db, 5, 6, project="proj_2")
    found = await run_outcomes.failures(db, replace(ALWAYS, projects=projects), groups=[], limit=10)
    assert sum(group.runs for group in found.groups) == runs
    assert found.counted_from == (ALWAYS.since if first is None else datetime.fromtimestamp(FIRST + first, UTC))


@pytest.mark.parametrize(
    ("projects", "index"), [(None, "run_failures_by_time"), (["proj_1"], "run_failures_of_projects")]
)
async def test_failures_are_found_by_an_index(db: Connection, projects: list[str] | None, index: str) -> None:
    """The plan for any values, which prepared statements get, does not read the runs that ended well."""
    await db.execute(
        "INSERT INTO run_outcomes SELECT 'thread_' || n, 'run_1', 'proj_' || n % 50, NULL, 'asst_1', 'm', now(), now(),"
        " to_timestamp($1::bigint + n), CASE WHEN n % 2 = 0 THEN 'failed' ELSE 'completed' END, 'server_error'"
        " FROM generate_series(1, 5000) AS n",
        FIRST,
    )
    await db.execute("ANALYZE run_outcomes")
    await db.execute("SET plan_cache_mode = force_generic_plan")
    suffix, asked = ("all", "NULL") if projects is None else ("projects", "'{proj_1}'")
    for block, more in (("failures", "NULL, NULL, NULL, '{}', 10, 100"), ("uncounted", "100")):
        await db.execute(f"PREPARE {block} AS {queries('run_outcomes')[f'{block}_{suffix}']}")
        plan = await db.fetch(f"EXPLAIN EXECUTE {block} ('2000-01-01', '3000-01-01', {asked}, {more})")
        assert any(index in line[0] for line in plan), "\n".join(line[0] for line in plan)


async def test_a_deleted_thread_stays_counted(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1")
    await UsageFollower(pool).scan()
    await writer(pool).thread(ORIGIN, "thread_1", DeleteThread())
    await seal(db)
    await UsageFollower(pool).scan()
    assert await counts(db) == [("proj_1", 1, 1)]


async def test_all_reports_are_made_again_while_readers_see_the_old_rows(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1")
    await seal(db)
    await UsageFollower(pool).scan()
    await db.execute("UPDATE usage_calls SET input_tokens = 999")
    await db.execute("UPDATE run_outcomes SET status = 'failed', cause = 'x'")
    async with pool.acquire() as other:
        async with other.transaction():
            await usage.FOLLOWER.rebuild(other, 1)
            await run_outcomes.FOLLOWER.rebuild(other, 1)
            assert await counts(db) == [("proj_1", 1, 0)], "not committed yet"
        assert await counts(db) == [("proj_1", 1, 1)]
        assert await sums(db) == [two_calls()]
        await rebuild_usage(other)
    assert await counts(db) == [("proj_1", 1, 1)]


async def test_a_restored_log_is_read_again(pool: Pool, db: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(follower, "PAGE_RANGES", 1)
    await run_thread(pool, "thread_1")
    await seal(db)
    await UsageFollower(pool).scan()
    await db.execute("UPDATE run_outcomes SET status = 'failed', cause = 'x'")
    await db.execute("INSERT INTO log_epochs SELECT epoch + 1, origin || 'x', first_index FROM log_epochs")
    async with pool.acquire() as other, other.transaction():
        assert not await run_outcomes.FOLLOWER.follow(other, 1), "in one transaction, so no count dips"
    assert await counts(db) == [("proj_1", 1, 1)]


def test_the_types_are_those_that_rows_need() -> None:
    ends = {event.model_fields["type"].default for event in get_args(e.RunEnd)}
    assert set(run_outcomes.ENDS) == ends
