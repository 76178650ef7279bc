"""Forks by another process than that of the origin's runs, and `kill -9` of a server while it makes a fork."""

from __future__ import annotations

from typing import Any

import pytest

from projections.rebuild import verify
from service.database import Pool
from sql.connection import Connection
from tests.crash.conftest import Start
from tests.crash.test_idempotency import MOMENTS, killed
from tests.http.helpers import assistant_with, run_of, said_by
from tests.http.test_forks import contents, conversation, fork_of, listed, with_ids_of
from tests.http.test_idempotency import sent
from tests.scripted import ScriptedServer, says

pytestmark = pytest.mark.slow

FORK_MOMENTS = {
    "recording the fork": "BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.type = 'thread.forked')",
    "beginning the fork": "BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.type = 'thread.created')",
    "copying a step": "BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.type = 'step.imported')",
    "writing the rows of runs": "BEFORE INSERT ON runs FOR EACH ROW",
    "writing the rows of steps": "BEFORE INSERT ON steps FOR EACH ROW",
    "recording its effect": "AFTER INSERT ON idempotency_effects FOR EACH ROW",
    "keeping its answer": MOMENTS["before its answer is kept"][0],
}


@pytest.mark.parametrize("moment", FORK_MOMENTS)
async def test_no_crash_leaves_half_a_fork(
    start: Start, database_url: str, pool: Pool, db: Connection, model: ScriptedServer, moment: str, monkeypatch: Any
) -> None:
    monkeypatch.setitem(MOMENTS, moment, (FORK_MOMENTS[moment], False))
    async with start() as server:
        thread, _ = await conversation(server.client, model)
        source = await contents(server.client, thread)
        path = f"/threads/{thread}/fork"
        await killed(server, database_url, moment, sent(server.client, path, {}))
    async with start() as server:
        for found in await listed(server.client, "/threads"):
            assert len((await contents(server.client, found["id"]))["messages"]) == len(source["messages"])
        made, again = [await sent(server.client, path, {}) for _ in range(2)]
        assert (made.status, again.body) == (200, made.body)
        assert with_ids_of(await contents(server.client, made.body["id"]), source) == source
        assert len(await listed(server.client, "/threads")) == 2
        assert await verify(db, made.body["id"]) == []
    forked = await pool.fetch("SELECT content FROM events_readable WHERE type = 'thread.forked'")
    assert len(forked) == 1
    assert made.body["id"] in forked[0]["content"]


async def test_a_fork_by_another_process_while_a_run_works(start: Start, model: ScriptedServer) -> None:
    model.script(says("one two three").waits("middle", before=2))
    async with start() as one, start() as other:
        run = await run_of(one.client, "Hi")
        await model.wait_for_gate("middle")
        fork = await fork_of(other.client, run["thread_id"])
        [copied] = await listed(other.client, f"/threads/{fork['id']}/runs")
        assert copied["status"] == "cancelled"
        model.open_gate("middle")
        assert (await one.client.settled(run))["status"] == "completed"
        assert await said_by(one.client, run) == ["one two three"]
        model.script(says("Again"))
        assistant = (await assistant_with(other.client))["id"]
        path = f"/threads/{fork['id']}/runs"
        new = await one.client.settled(await one.client.post(path, {"assistant_id": assistant}))
        assert await said_by(other.client, new) == ["Again"]
