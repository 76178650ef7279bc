"""Two server processes over one database: the second continues the runs of the first if it dies, and notifications
cross.
"""

from __future__ import annotations

import signal

import pytest

from tests.client import Frame
from tests.crash.conftest import Start
from tests.http.helpers import assistant_with, run_of, said_by, thread_with
from tests.scripted import ScriptedServer, says

pytestmark = pytest.mark.slow


async def test_a_run_of_a_killed_process_goes_on_in_another(start: Start, model: ScriptedServer) -> None:
    model.script(says("Never read").waits("first"), says("Whole"))
    async with start() as one, start() as other:
        run = await run_of(one.client, "Hi")
        await model.wait_for_gate("first")
        await one.kill()
        done = await other.client.settled(run)
        assert (done["status"], await said_by(other.client, run)) == ("completed", ["Whole"])
        assert len(model.requests) == 2


async def test_cancelling_from_another_process_stops_the_model_call(start: Start, model: ScriptedServer) -> None:
    model.script(says("one two three").waits("middle", before=2))
    async with start() as one, start() as other:
        run = await run_of(one.client, "Hi")
        await model.wait_for_gate("middle")
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        assert (await other.client.post(path + "/cancel"))["status"] == "cancelling"
        await model.wait_for_disconnect()
        assert (await other.client.settled(run))["status"] == "cancelled"


async def test_a_run_that_another_process_executes_is_streamed(start: Start, model: ScriptedServer) -> None:
    """A process without free places creates a run, and another one executes it. The client gets its deltas."""
    reply = says("one two three", pieces=["one", " two", " three"]).waits("middle", before=2)
    model.script(says("Busy").waits("busy"), reply)
    async with start(max_runs=1) as one, start(max_runs=1) as other:
        await run_of(one.client, "Hi")
        await model.wait_for_gate("busy")
        assistant, thread = await assistant_with(one.client), await thread_with(one.client, "Hi")
        path = f"/threads/{thread['id']}/runs"
        frames: list[Frame] = []
        async for frame in one.client.stream(path, {"assistant_id": assistant["id"], "stream": True}):
            frames.append(frame)
            if frame.event == "thread.message.delta":
                model.open_gate("middle")
        deltas = [frame.data["delta"]["content"][0] for frame in frames if frame.event == "thread.message.delta"]
        texts = [part["text"]["value"] for part in deltas]
        assert (texts[0], "".join(texts)) == ("one", "one two three")
        assert [frame.event for frame in frames][-2:] == ["thread.run.completed", "done"]
        model.open_gate("busy")
        assert other.process.is_running


async def test_the_run_of_a_frozen_process_goes_on_in_another(start: Start, model: ScriptedServer) -> None:
    """The connections of a stopped process stay open. When it goes on, it finds its claim lost."""
    model.script(says("Never read").waits("first"), says("Whole"))
    async with start() as one, start() as other:
        run = await run_of(one.client, "Hi")
        await model.wait_for_gate("first")
        one.process.send_signal(signal.SIGSTOP)
        try:
            done = await other.client.settled(run)
        finally:
            one.process.send_signal(signal.SIGCONT)
        assert (done["status"], await said_by(other.client, run)) == ("completed", ["Whole"])
        model.open_gate("first")
        assert await said_by(one.client, run) == ["Whole"]


async def test_a_run_of_a_frozen_process_can_be_cancelled(start: Start, model: ScriptedServer) -> None:
    model.script(says("Never read").waits("first"))
    async with start() as one, start() as other:
        run = await run_of(one.client, "Hi")
        await model.wait_for_gate("first")
        one.process.send_signal(signal.SIGSTOP)
        try:
            path = f"/threads/{run['thread_id']}/runs/{run['id']}"
            assert (await other.client.post(path + "/cancel"))["status"] == "cancelling"
            assert (await other.client.settled(run))["status"] == "cancelled"
        finally:
            one.process.send_signal(signal.SIGCONT)
