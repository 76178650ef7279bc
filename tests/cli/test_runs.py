"""`everthread runs list` finds runs by status, time, assistant and project."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest

from events.objects import Run, RunStatus
from events.streams import THREAD
from events.thread.commands import DeleteThread, ImportThread
from projections import runs
from projections.run_listing import ListingFilter
from service.cli import runs as command
from service.database import Pool
from service.errors import CommandError
from service.usage.follower import catch_up_runs
from sql import queries
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.cli.test_keys import everthread
from tests.events.thread.story import add, break_call, claim, finish, run
from tests.projections.helpers import ORIGIN, make_thread, writer


@pytest.mark.slow
async def test_runs_are_found(pool: Pool, database_url: str) -> None:
    write = writer(pool)
    for number in (1, 2, 3):
        thread = f"thread_{number}"
        await make_thread(write, thread)
        await write.thread(ORIGIN, thread, add("Hi"))
        asked = run(f"run_{number}", claim=claim(), assistant_id=f"asst_{number % 2}")
        await write.thread(ORIGIN, thread, asked)
    await write.thread(ORIGIN, "thread_1", finish("Hello."))
    await write.thread(ORIGIN, "thread_2", replace(break_call(), run_id="run_2"))

    async def found(*options: str) -> list[Any]:
        arguments = ("runs", "list", "--json", *options)
        code, output, report = await asyncio.to_thread(everthread, *arguments, EVERTHREAD_DATABASE_URL=database_url)
        assert code == 0, report
        return [json.loads(line)["id"] for line in output.splitlines()]

    assert sorted(await found()) == ["run_1", "run_2", "run_3"]
    assert await found("--status", "completed") == ["run_1"]
    assert sorted(await found("--status", "in_progress", "--status", "completed")) == ["run_1", "run_2", "run_3"]
    assert sorted(await found("--assistant", "asst_1")) == ["run_1", "run_3"]
    assert len(await found("--limit", "2")) == 2
    assert await found("--since", "2100-01-01") == []
    newest = await found()
    assert await found("--after", newest[0]) == newest[1:]
    assert await found("--after", newest[0], "--limit", "1") == newest[1:2]
    shown = await asyncio.to_thread(everthread, "runs", "list", EVERTHREAD_DATABASE_URL=database_url)
    assert "run_1" in shown[1]
    wrong = await asyncio.to_thread(
        everthread, "runs", "list", "--status", "done", EVERTHREAD_DATABASE_URL=database_url
    )
    assert wrong[0] == 1
    assert "--status: must be one of queued" in wrong[2]


def test_columns_that_do_not_fit_are_left_out_and_ids_stay_whole() -> None:
    row = ("run_" + "a" * 24, "completed", "asst_" + "b" * 24, "2026-11-28 12:00:00", "", "gpt-4o")
    assert command.fitting_columns([row], None) == [0, 1, 2, 3, 4, 5]
    assert command.fitting_columns([row], 200) == [0, 1, 2, 3, 4, 5]
    assert command.fitting_columns([row], 80) == [0, 1, 2, 4]
    assert command.fitting_columns([row], 20) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [{}, {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "80"}])
async def test_ids_of_the_list_are_whole(pool: Pool, database_url: str, terminal: dict[str, str]) -> None:
    run_id, thread = "run_" + "a" * 24, "thread_1"
    write = writer(pool)
    await make_thread(write, thread)
    await write.thread(ORIGIN, thread, add("Hi"))
    await write.thread(ORIGIN, thread, run(run_id, claim=claim(), assistant_id="asst_" + "b" * 24))
    listing = await asyncio.to_thread(everthread, "runs", "list", EVERTHREAD_DATABASE_URL=database_url, **terminal)
    [line] = [line for line in listing[1].splitlines() if run_id in line]
    assert "asst_" + "b" * 24 in line
    assert ("gpt-test" in line) == (not terminal)


def everything(**conditions: Any) -> ListingFilter:
    return replace(ListingFilter(since=command.EARLIEST, status=get_args(RunStatus)), **conditions)


async def test_runs_with_and_without_an_index_of_the_log_are_one_list(
    pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writer(pool)
    for number in range(6):
        thread = f"thread_{number}"
        await make_thread(write, thread)
        await write.thread(ORIGIN, thread, add("Hi"))
        await write.thread(ORIGIN, thread, run(f"run_{number}", claim=claim()))
        if number == 3:
            await seal(db)
    await write.thread(ORIGIN, "thread_1", finish("Hello."))
    imported = Run(
        **{**asdict(await runs.get(db, "proj_1", "thread_1", "run_1")), "id": "run_old", "thread_id": "thread_9"}
    )
    await write.write(THREAD, ORIGIN, "thread_9", ImportThread({}, {}, None, [imported]))
    await write.thread(ORIGIN, "thread_2", DeleteThread())
    expected = ["run_0", "run_1", "run_3", "run_4", "run_5", "run_old"]
    for page in (1, 2, 200):
        monkeypatch.setattr(command, "PAGE", page)
        for is_sealed in (False, True):
            if is_sealed:
                await seal(db)
            await catch_up_runs(db)
            whole = await command.newest_runs(db, everything(), limit=10)
            assert sorted(each.id for _, each in whole) == expected
            times = [each.created_at for _, each in whole]
            assert times == sorted(times, reverse=True)
            paged = [await command.newest_runs(db, everything(), limit=1)]
            while paged[-1]:
                paged.append(await command.newest_runs(db, everything(), after=paged[-1][0][1].id, limit=1))
            assert [entry for one in paged for entry in one] == whole
            completed = await command.newest_runs(db, everything(status=["completed"]), limit=10)
            assert {each.id for _, each in completed} == {"run_1", "run_old"}
    assert await command.newest_runs(db, everything(project_id="proj_2"), limit=10) == []
    assert await command.newest_runs(db, everything(assistant_id="asst_0"), limit=10) == []
    with pytest.raises(CommandError, match="there is no run 'run_x'"):
        await command.newest_runs(db, everything(), after="run_x", limit=1)


async def test_a_list_reads_rows_in_proportion_to_its_limit(db: Connection) -> None:
    """No plan for a page, with any filter, reads more rows than its branches may give, of 30,000 runs."""
    await db.execute(
        "INSERT INTO run_outcomes SELECT 'thread_' || n, 'run_' || n, 'proj_' || n % 3, NULL, 'asst_' || n % 100, 'm',"
        " to_timestamp(n), NULL, to_timestamp(n), CASE WHEN n % 1000 = 0 THEN NULL WHEN n % 5000 = 1 THEN 'failed'"
        " ELSE 'completed' END, NULL FROM generate_series(1, 30000) AS n"
    )
    await db.execute("ANALYZE run_outcomes")
    limit, statuses = 10, list(get_args(RunStatus))
    for wanted in (statuses, ["failed"], ["completed", "failed"]):
        for project, assistant in ((None, None), ("proj_1", None), (None, "asst_7"), ("proj_1", "asst_7")):
            given = (*command.LATEST, command.EARLIEST, project, assistant, wanted, limit)
            [(plan,)] = await db.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + queries("run_listing")["page"], *given)
            read = sum(_rows_read(json.loads(plan)[0]["Plan"]))
            assert read <= 4 * limit * (len(wanted) + 1), (wanted, project, assistant, read)


def _rows_read(plan: dict[str, Any]) -> Iterator[float]:
    """Yields the rows of a table that each scan of a plan read, also those that its filter left out."""
    if "Relation Name" in plan:
        loops = plan["Actual Loops"]
        yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * loops
    for inner in plan.get("Plans", ()):
        yield from _rows_read(inner)
