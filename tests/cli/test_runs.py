"""`everthread runs list` finds runs by status, time, assistant and project."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from service.cli import runs as command
from service.database import Pool
from tests.cli.test_keys import everthread
from tests.events.thread.story import add, break_call, claim, finish, run
from tests.projections.helpers import ORIGIN, make_thread, writer


@pytest.mark.slow
async def test_runs_are_found(pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(command, "PAGE", 1)
    async with pool.acquire() as db:
        every = {"project_id": None, "status": frozenset({"completed", "in_progress"}), "since": 0.0, "assistant": None}
        newest = await command.newest_runs(db, limit=10, **every)  # type: ignore[arg-type]
    assert {each.id for _, each in newest} == {"run_1", "run_2", "run_3"}
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
