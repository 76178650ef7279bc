"""Every line of the log names the request, thread and run that it belongs to."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from tests.client import Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.scripted import ScriptedServer, errors


async def test_lines_carry_request_thread_and_run(client: Client, model: ScriptedServer) -> None:
    model.script(errors(400))
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        run = await client.settled(await run_of(client, "Hi"))
        await thread_with(client, "Hi")
    served = [line for line in lines if line["event"] == "request_served"]
    created = next(line for line in served if line["path"].endswith("/runs") and line["method"] == "POST")
    ids = {"thread_id": run["thread_id"], "run_id": run["id"]}
    assert {name: created[name] for name in ids} == ids
    failed = next(line for line in lines if line["event"] == "model_call_failed")
    assert {name: failed[name] for name in ids} == ids
    assert failed["request_id"] == created["request_id"]
    polled = next(line for line in served if line["path"].endswith(run["id"]))
    assert {name: polled[name] for name in ids} == ids
    assert polled["request_id"] != created["request_id"]
    last = served[-1]
    assert last["path"] == "/v1/threads"
    assert not ids.keys() & last.keys(), "what the connection's last request was about is not this one's"


async def test_a_streamed_runs_line(client: Client, model: ScriptedServer) -> None:
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        body = {"assistant_id": assistant["id"], "stream": True}
        frames = await client.frames(f"/threads/{thread['id']}/runs", body)
        await client.get("/assistants")
    served = next(line for line in lines if line["event"] == "request_served")
    assert (served["thread_id"], served["run_id"]) == (thread["id"], frames[0].data["id"])
