"""The past of runs whose processes were killed, as GET answered it meanwhile (tests/replay/test_law.py has the law)."""

from __future__ import annotations

from random import Random

import pytest

from service.database import Pool
from tests.client import Client
from tests.crash.conftest import Start
from tests.http.helpers import run_of
from tests.http.keys import make_key
from tests.replay.recorder import Recorder
from tests.replay.test_law import WEATHER, call_ids
from tests.scripted import ScriptedServer, calls, says

pytestmark = pytest.mark.slow


async def test_the_past_of_a_run_that_was_taken_over(start: Start, pool: Pool, model: ScriptedServer) -> None:
    """Processes are killed during a model call, and while a run waits for the client's outputs."""
    recorder = Recorder(pool)
    model.script(says("Never read").waits("first"), calls(("weather", {"city": "Rome"})), says("It rains."))
    async with start() as one, start() as other:
        run = await run_of(one.client, "Rome?", tools=[WEATHER])
        thread = f"/threads/{run['thread_id']}"
        path = f"{thread}/runs/{run['id']}"
        paths = [thread, f"{thread}/messages", f"{thread}/runs", path, f"{path}/steps"]

        async def record(client: Client) -> None:
            await recorder.record(client, run["thread_id"], paths)

        await model.wait_for_gate("first")
        await record(one.client)
        await one.kill()
        waiting = await other.client.settled(run)
        assert waiting["status"] == "requires_action"
        await record(other.client)
        async with start() as third:
            await other.kill()
            await record(third.client)
            outputs = {"tool_outputs": [{"tool_call_id": id, "output": "rain"} for id in call_ids(waiting)]}
            await third.client.post(f"{path}/submit_tool_outputs", outputs)
            assert (await third.client.settled(run))["status"] == "completed"
            await record(third.client)
            await third.client.post(thread, {"metadata": {"a": "b"}})
            await third.client.delete(
                f"{thread}/messages/{(await third.client.get(thread + '/messages'))['data'][1]['id']}"
            )
            async with Client(third.client.base_url, key=(await make_key(pool, scope="audit:content"))[1]) as auditor:
                await recorder.compare(auditor, Random(1), len(recorder.recordings))
