"""`everthread threads`: list and delete by filter, beside a server with an active run."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from events.actors import actor_text
from events.thread.commands import CreateThread
from projections.metadata import Filter
from service.cli import admin, thread_deletion
from service.database import Pool
from tests.cli.test_keys import everthread
from tests.client import Client
from tests.clock import CLOCK
from tests.http.helpers import assistant_with
from tests.http.keys import writer
from tests.projections.helpers import ORIGIN
from tests.scripted import ScriptedServer, hangs


async def command(database_url: str, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(everthread, "threads", *arguments, EVERTHREAD_DATABASE_URL=database_url)


@pytest.mark.slow
async def test_list_dry_run_and_delete(client: Client, database_url: str, pool: Pool, model: ScriptedServer) -> None:
    model.script(hangs())
    assistant = await assistant_with(client)
    thread = {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"user": "ann"}}
    run = await client.post("/threads/runs", {"assistant_id": assistant["id"], "thread": thread})
    await model.next_request()
    ann = [run["thread_id"], (await client.post("/threads", {"metadata": {"user": "ann"}}))["id"]]
    bob = (await client.post("/threads", {"metadata": {"user": "bob"}}))["id"]
    listed = (await command(database_url, "list", "--metadata", "user=ann", "--before", "2999-01-01"))[1].splitlines()
    assert [orjson.loads(line)["id"] for line in listed] == ann
    assert orjson.loads(listed[0])["metadata"] == {"user": "ann"}
    none = ("delete", "--metadata", "user=ann", "--before", "2020-01-01T12:00")
    assert await command(database_url, *none) == (0, "", "0 threads deleted.")
    dry = await command(database_url, "delete", "--metadata", "user=ann", "--dry-run")
    assert dry == (0, "\n".join(ann), "2 threads would be deleted.")
    assert await client.get(f"/threads/{ann[0]}")
    done = await command(database_url, "delete", "--metadata", "user=ann")
    assert done == (0, "\n".join(ann), "2 threads deleted.")
    await model.wait_for_disconnect()
    assert [one["id"] for one in (await client.get("/threads"))["data"]] == [bob]
    actors = await pool.fetch("SELECT stream_id, actor FROM events WHERE type = 'thread.deleted' ORDER BY at")
    assert [tuple(row) for row in actors] == [(id, actor_text(admin.actor())) for id in ann]


async def test_all_of_one_project(client: Client, database_url: str) -> None:
    kept = await client.post("/threads")
    project = (
        await asyncio.to_thread(everthread, "projects", "create", "--name", "P", EVERTHREAD_DATABASE_URL=database_url)
    )[1]
    assert (await command(database_url, "delete", "--all", "--project", project))[2] == "0 threads deleted."
    assert (await command(database_url, "delete", "--all"))[1] == kept["id"]


async def test_one_that_stops_half_way_goes_on_where_it_was(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_deletion, "PAGE", 3)
    write = writer(pool)
    for number in range(8):
        await write.thread(ORIGIN, f"thread_{number}", CreateThread({"k": "v"}, {}, ()))
    found = Filter((("k", "v"),), until=CLOCK.now())
    await write.thread(ORIGIN, "thread_late", CreateThread({"k": "v"}, {}, ()))
    first = thread_deletion.delete(write, "proj_1", found)
    assert await anext(first) == ["thread_0", "thread_1", "thread_2"]
    assert await thread_deletion.count(write, "proj_1", found) == 5
    again = [gone async for gone in thread_deletion.delete(write, "proj_1", found)]
    assert again == [["thread_3", "thread_4", "thread_5"], ["thread_6", "thread_7"]]
    assert [gone async for gone in first] == [], "two at once do no harm"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["delete"], "Choose threads by --metadata, --after or --before, or --all for all threads of the project."),
        (["delete", "--metadata", "user"], "--metadata: write key=value, not 'user'"),
        (["delete", "--metadata", "a=1", "--metadata", "a=2"], "--metadata: 'a' is given twice with different values"),
        (
            ["delete", "--before", "0001-01-01T00:00+14:00"],
            "--before: write 2026-01-31, 2026-01-31T12:00 or Unix seconds",
        ),
        (["list", "--before", "yesterday"], "--before: write 2026-01-31, 2026-01-31T12:00 or Unix seconds"),
        (["delete", "--all", "--project", "Nowhere"], "There is no project 'Nowhere': see everthread projects list."),
    ],
)
async def test_what_is_refused_is_one_line(database_url: str, arguments: list[str], says: str) -> None:
    assert await command(database_url, *arguments) == (1, "", f"everthread: {says}")
