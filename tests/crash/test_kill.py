"""`kill -9` of a real server process in each state of a run, then a start. Nothing is lost, doubled or stuck.

Postgres and the model server keep running. Each moment is awaited at a gate of the model server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.client import Client
from tests.crash.conftest import Start
from tests.http.helpers import assistant_with, run_of, said_by
from tests.scripted import ScriptedServer, calls, hangs, says
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.slow
WEATHER = {"type": "function", "function": {"name": "weather"}}


async def _whole(client: Client, run: Any, *, texts: list[str], calls_made: int, model: ScriptedServer) -> None:
    """Asserts that the run completed, wrote each text once, kept the user's message, and repeated no finished call."""
    done = await client.settled(run)
    assert (done["status"], done["last_error"]) == ("completed", None)
    assert await said_by(client, run) == texts
    messages = (await client.get(f"/threads/{run['thread_id']}/messages"))["data"]
    assert [m["content"][0]["text"]["value"] for m in messages if m["role"] == "user"] == ["Hi"]
    assert len(model.requests) == calls_made


async def test_killed_before_the_first_token(start: Start, model: ScriptedServer) -> None:
    model.script(says("Never read").waits("first"), says("Whole"))
    async with start() as server:
        run = await run_of(server.client, "Hi")
        await model.wait_for_gate("first")
        await server.kill()
    async with start() as server:
        await _whole(server.client, run, texts=["Whole"], calls_made=2, model=model)


async def test_killed_in_the_middle_of_an_answer(start: Start, model: ScriptedServer) -> None:
    model.script(says("one two three").waits("middle", before=3), says("Whole"))
    async with start() as server:
        assistant = await assistant_with(server.client)
        asked = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
        stream = server.client.stream("/threads/runs", {**asked, "stream": True})
        frames = [frame async for frame in _until(stream, "thread.message.delta")]
        await server.kill()
    run = next(frame.data for frame in frames if frame.event == "thread.run.created")
    shown = {frame.data["id"] for frame in frames if frame.event == "thread.message.created"}
    async with start() as server:
        await _whole(server.client, run, texts=["Whole"], calls_made=2, model=model)
        [broken] = [await server.client.get(f"/threads/{run['thread_id']}/messages/{id}") for id in shown]
        assert (broken["status"], broken["content"]) == ("incomplete", [])


async def test_an_id_that_was_shown_is_never_a_404(start: Start, model: ScriptedServer) -> None:
    """The message was streamed before the kill, and the run is cancelled before the next attempt writes. The message
    stays empty.
    """
    model.script(says("one two three").waits("middle", before=3), hangs())
    async with start() as server:
        assistant = await assistant_with(server.client)
        asked = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
        stream = server.client.stream("/threads/runs", {**asked, "stream": True})
        frames = [frame async for frame in _until(stream, "thread.message.delta")]
        await server.kill()
    run, message, step = (
        next(frame.data for frame in frames if frame.event == f"thread.{kind}.created")
        for kind in ("run", "message", "run.step")
    )
    path = f"/threads/{run['thread_id']}"
    async with start() as server:
        await model.next_request()
        await model.next_request()
        await server.client.post(f"{path}/runs/{run['id']}/cancel")
        assert (await server.client.settled(run))["status"] == "cancelled"
        shown = await server.client.get(f"{path}/messages/{message['id']}")
        assert (shown["content"], shown["created_at"]) == ([], message["created_at"])
        assert (await server.client.get(f"{path}/runs/{run['id']}/steps/{step['id']}"))["status"] == "cancelled"


async def _until(stream: AsyncIterator[Any], event: str) -> AsyncIterator[Any]:
    async for frame in stream:
        yield frame
        if frame.event == event:
            return


async def test_killed_while_it_requires_action(start: Start, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Sunny"))
    async with start() as server:
        run = await server.client.settled(await run_of(server.client, "Hi", tools=[WEATHER]))
        assert run["status"] == "requires_action"
        await server.kill()
    async with start() as server:
        assert (await server.client.settled(run))["required_action"] == run["required_action"]
        await _submit(server.client, run)
        await _whole(server.client, run, texts=["Sunny"], calls_made=2, model=model)


async def test_killed_after_the_outputs_came(start: Start, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Never read").waits("second"), says("Sunny"))
    async with start() as server:
        run = await server.client.settled(await run_of(server.client, "Hi", tools=[WEATHER]))
        await _submit(server.client, run)
        await model.wait_for_gate("second")
        await server.kill()
    async with start() as server:
        await _whole(server.client, run, texts=["Sunny"], calls_made=3, model=model)


async def _submit(client: Client, run: Any) -> None:
    wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "sun"} for call in wanted]
    await client.post(f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs})


async def test_killed_while_queued(start: Start, model: ScriptedServer) -> None:
    model.script(says("Never read").waits("busy"), says("Whole"), says("Whole"))
    async with start(max_runs=1) as server:
        first = await run_of(server.client, "Hi")
        await model.wait_for_gate("busy")
        second = await run_of(server.client, "Hi")
        path = f"/threads/{second['thread_id']}/runs/{second['id']}"
        assert (await server.client.get(path))["status"] == "queued"
        await server.kill()
    async with start(max_runs=1) as server:
        await server.client.settled(first)
        await _whole(server.client, second, texts=["Whole"], calls_made=3, model=model)


async def test_killed_while_cancelling(start: Start, model: ScriptedServer, database_url: str) -> None:
    """The kill races with the cancellation. In either order the run ends cancelled and the thread is free."""
    model.script(says("one two").waits("middle", before=2))
    async with start() as server:
        run = await run_of(server.client, "Hi")
        await model.wait_for_gate("middle")
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        assert (await server.client.post(path + "/cancel"))["status"] == "cancelling"
        await server.kill()
    async with start() as server:
        assert (await server.client.settled(run))["status"] == "cancelled"
        assert len(model.requests) == 1
        message = {"role": "user", "content": "Free again"}
        assert await server.client.post(f"/threads/{run['thread_id']}/messages", message)


async def test_overdue_runs_expire_at_the_next_start(start: Start, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})))
    async with start(run_expires_s=2) as server:
        run = await server.client.settled(await run_of(server.client, "Hi", tools=[WEATHER]))
        await server.kill()
    async with start(run_expires_s=2) as server:
        done = run
        while done["status"] == "requires_action":
            done = await server.client.get(f"/threads/{run['thread_id']}/runs/{run['id']}")
        assert done["status"] == "expired"


async def test_killed_in_the_middle_of_a_webhook(start: Start, model: ScriptedServer) -> None:
    """The receiver has the message but has not answered. It gets the same message id again, and every other message
    once.
    """
    model.script(says("Whole"))
    async with Receiver() as receiver:
        receiver.must_wait = lambda event, path: event["type"] == "thread.run.in_progress"
        async with start(webhooks_allow_private=True) as server:
            made = await server.client.post("/webhook_endpoints", {"url": receiver.url()})
            receiver.secrets["/hook"] = made["secret"]
            run = await server.client.settled(await run_of(server.client, "Hi"))
            await receiver.wait_for_message()
            await server.kill()
        receiver.may_answer.set()
        async with start(webhooks_allow_private=True) as server:
            done = await server.client.get(f"/threads/{run['thread_id']}/runs/{run['id']}")
            got = await receiver.until(lambda got: got[-1:] != [] and got[-1].type == "thread.run.completed")
    kinds = [one.type.removeprefix("thread.run.") for one in got]
    assert kinds == ["created", "in_progress", "in_progress", "completed"]
    assert len({one.id for one in got}) == 3
    assert all(one.is_verified for one in got)
    assert got[-1].event["data"] == done


async def test_finished_runs_stay_as_they_were(start: Start, model: ScriptedServer) -> None:
    model.script(says("Whole"))
    async with start() as server:
        run = await server.client.settled(await run_of(server.client, "Hi"))
        await server.kill()
    async with start() as server:
        assert await server.client.get(f"/threads/{run['thread_id']}/runs/{run['id']}") == run
        assert len(model.requests) == 1
