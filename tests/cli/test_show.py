"""`everthread show` prints the objects of a thread as they were, beside a server."""

from __future__ import annotations

import asyncio
import io

import orjson
import pytest
from rich.console import Console

from service.cli import show
from service.database import Pool
from service.replay.past_thread import PastThread
from service.replay.time_travel import TimeTravel, Viewer
from service.wire.as_of import StreamVersion
from tests.audit.test_acts import recorded
from tests.cli.test_keys import everthread
from tests.client import Client
from tests.clock import CLOCK
from tests.http.helpers import run_of
from tests.projections.helpers import make_thread, writer
from tests.scripted import ScriptedServer, calls, says


async def command(database_url: str, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(everthread, "show", *arguments, EVERTHREAD_DATABASE_URL=database_url)


@pytest.mark.slow
async def test_the_objects_of_the_api(client: Client, database_url: str, pool: Pool, model: ScriptedServer) -> None:
    weather = {"type": "function", "function": {"name": "weather"}}
    model.script(calls(("weather", {"city": "Rome"})))
    run = await client.settled(await run_of(client, "Rome?\x1b[31m", tools=[weather], metadata={"a": "b"}))
    path = f"/threads/{run['thread_id']}"
    version = str(await pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", run["thread_id"]))
    [message] = (await client.get(f"{path}/messages"))["data"]
    objects = [await client.get(path), message, run, *(await client.get(f"{path}/runs/{run['id']}/steps"))["data"]]
    await client.post(f"{path}/runs/{run['id']}/cancel")
    await client.settled(run)
    await client.post(path, {"metadata": {"x": "y"}})
    await client.delete(f"{path}/messages/{message['id']}")

    code, output, _ = await command(database_url, run["thread_id"], "--at", version, "--json", "--deleted")
    assert (code, [orjson.loads(line) for line in output.splitlines()]) == (0, objects)
    code, output, _ = await command(database_url, run["thread_id"], "--at", version, "--json")
    assert (code, [orjson.loads(line)["id"] for line in output.splitlines()]) == (
        0,
        [one["id"] for one in objects if one is not message],
    )
    reads = await recorded(pool, "audit.read")
    assert [read["path"] for read in reads] == [f"everthread show {run['thread_id']} --deleted"]
    assert reads[0]["actor"].startswith("cli:")
    now = [orjson.loads(line) for line in (await command(database_url, run["thread_id"], "--json"))[1].splitlines()]
    assert (now[0]["metadata"], now[1]["status"]) == ({"x": "y"}, "cancelled")
    code, output, _ = await command(database_url, run["thread_id"], "--at", version, "--deleted")
    assert (code, "requires_action" in output, "Rome?" in output) == (0, True, True)
    assert "\x1b[31m" not in output
    for arguments, says_why in (
        (("thread_none",), "No thread found with id 'thread_none'."),
        ((run["thread_id"], "--at", "0"), "it began at version 1"),
        ((run["thread_id"], "--at", "soon"), "Invalid 'at'"),
    ):
        code, _, error = await command(database_url, *arguments)
        assert code == 1
        assert says_why in error


async def test_the_page_for_people(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(says("It rains.\x1b[2J [bold]not markup[/bold]"))
    run = await client.settled(await run_of(client, "Rome?", model="gpt-\x1b[2J"))
    version = await pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", run["thread_id"])
    project_id = await pool.fetchval("SELECT project_id FROM threads WHERE thread_id = $1", run["thread_id"])
    viewer = Viewer(project_id, sees_deleted=False)
    past = PastThread(TimeTravel(pool, CLOCK), viewer, run["thread_id"], StreamVersion(version))
    output = io.StringIO()
    show.print_thread(await past.contents(), Console(file=output, width=200))
    page = output.getvalue()
    assert page.index("Rome?") < page.index(run["id"]) < page.index("It rains.")
    assert "\\x1b[2J [bold]not markup[/bold]" in page
    assert f"as of version {version}, " in page
    assert "message_creation" in page
    assert "\x1b" not in page


@pytest.mark.slow
async def test_a_thread_without_one_of_its_events(pool: Pool, database_url: str) -> None:
    await make_thread(writer(pool), "thread_1", "one")
    await pool.execute("DELETE FROM events WHERE stream_id = 'thread_1' AND version = 1")
    code, _, error = await command(database_url, "thread_1")
    assert code == 1
    assert error.startswith("everthread: The views of the stream thread_1 cannot be rebuilt from its events: ")


def test_long_texts_are_cut() -> None:
    assert show.printable("x" * 10, 4) == "xxxx… (10 characters)"
    assert show.printable("a\r\x07\n\u202eb", 10) == "a\\r\\x07\n\\u202eb"
