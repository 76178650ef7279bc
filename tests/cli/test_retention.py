"""`everthread retention`: policies and holds from the command line, beside a server."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from service.database import Pool
from tests.cli.test_keys import everthread
from tests.client import Client
from tests.http.helpers import thread_with


async def command(database_url: str, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(everthread, "retention", *arguments, EVERTHREAD_DATABASE_URL=database_url)


@pytest.mark.slow
async def test_policies_and_holds(client: Client, database_url: str, pool: Pool) -> None:
    assert "No policy and no hold" in (await command(database_url, "list"))[2]
    thread = (await thread_with(client, "Hi"))["id"]
    dry = ("set", "--project", "default", "--delete-idle", "30", "--keep", "184", "--dry-run")
    assert "0 threads would be deleted" in (await command(database_url, *dry))[1]
    assert await pool.fetchval("SELECT count(*) FROM retention_policies") == 0
    assert (await command(database_url, *dry[:-1]))[0] == 0
    hold = (await command(database_url, "hold", "--reason", "Case 7", "--thread", thread))[1]
    listed = orjson.loads((await command(database_url, "list", "--json", "--dry-run"))[1])
    assert listed["policies"] == [
        {
            "project_id": "proj_default",
            "delete_idle_threads_after_days": 30,
            "keep_threads_for_days": 184,
            "idle_threads": 0,
        }
    ]
    assert [(each["id"], each["thread_id"], each["ended_at"]) for each in listed["holds"]] == [(hold, thread, None)]
    assert "Case 7" in (await command(database_url, "release", hold, "--dry-run"))[1]
    assert await pool.fetchval("SELECT count(*) FROM legal_holds WHERE ended_at IS NULL") == 1
    assert ", ended " in (await command(database_url, "release", hold))[1]
    assert (await command(database_url, "set", "--project", "default", "--delete-idle", "0"))[1].startswith(
        "proj_default: idle threads stay; deleted threads are kept until 184 days"
    )
    actors = await pool.fetchval(
        "SELECT count(*) FROM events WHERE actor LIKE 'cli:%' AND (type LIKE 'hold.%' OR type = 'retention.set')"
    )
    assert actors == 4
    for wrong in (
        ("set", "--project", "default"),
        ("hold", "--reason", "x", "--thread", "thread_none"),
        ("release", "x"),
    ):
        assert (await command(database_url, *wrong))[0] == 1
