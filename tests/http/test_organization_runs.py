"""GET /v1/organization/usage/runs and …/failures."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from service.cli import admin
from service.database import Pool
from tests.client import Client
from tests.clock import IDS
from tests.http.helpers import run_of
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, calls, errors, says

WAIT_S = 60.0
PATH = "/organization/usage/runs"
WEATHER = {"type": "function", "function": {"name": "weather"}}


async def results(client: Client, start: int, **query: str) -> list[Any]:
    page = await client.get(PATH, start_time=str(start), limit="2", **query)
    return [result for bucket in page["data"] for result in bucket["results"]]


async def wait_for_runs(client: Client, start: int, runs: int) -> None:
    """Waits until the follower has counted so many runs."""
    async with asyncio.timeout(WAIT_S):
        while sum(result["num_runs"] for result in await results(client, start)) < runs:
            await asyncio.sleep(0.05)


async def test_runs_and_failures_are_counted(client: Client, pool: Pool, model: ScriptedServer) -> None:
    start = int(time.time()) - 60
    await admin.create_project(writer(pool), "Other", ids=IDS)
    model.script(says("Hello!"), errors(400), calls(("weather", {})), says("Theirs"))
    await client.settled(await run_of(client, "Hi"))
    failed = await client.settled(await run_of(client, "Hi"))
    await client.settled(await run_of(client, "Hi", tools=[WEATHER]))
    async with await as_key(client, pool, "Other") as other:
        await other.settled(await run_of(other, "Hi"))
        await wait_for_runs(client, start, 3)
        [own] = await results(other, start)
        assert (own["num_runs"], own["completed"], own["model"]) == (1, 1, None)
        assert await results(other, start, project_ids="proj_default") == []
        assert (await other.get(PATH, start_time=str(start)))["active"]["requires_action"] == 0
    page = await client.get(PATH, start_time=str(start), group_by="project_id")
    assert page["active"] == {"queued": 0, "in_progress": 0, "requires_action": 1, "cancelling": 0}
    [ours] = await results(client, start, project_ids="proj_default")
    assert (ours["num_runs"], ours["completed"], ours["failed"]) == (2, 1, 1)
    assert ours["run_ms"]["p50"] >= ours["wait_ms"]["p50"] >= 0
    failures = await client.get("/organization/usage/failures", start_time=str(start), group_by="assistant_id")
    assert failures["counted_from"] == failures["start_time"]
    [grouped] = failures["data"]
    assert (grouped["status"], grouped["num_runs"], grouped["model"]) == ("failed", 1, None)
    assert grouped["cause"] == failed["last_error"]["code"]
    assert grouped["assistant_id"] == failed["assistant_id"]
    assert (grouped["example"]["thread_id"], grouped["example"]["run_id"]) == (failed["thread_id"], failed["id"])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": "10", "group_by": "line_item"}, "group_by"),
        ({"start_time": "10", "assistant_ids": "a\x00"}, "assistant_ids"),
        ({"start_time": "10", "limit": "0"}, "limit"),
    ],
)
async def test_a_wrong_query_is_refused(client: Client, query: dict[str, str], param: str) -> None:
    for path in (PATH, "/organization/usage/failures"):
        answer = await client.call("GET", path, headers=None, **query)
        status, _, named, _ = answer.error
        assert (status, named) == (400, param)
