"""Runs with model servers that refuse parts of the usual requests, over HTTP."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.model import stream_parser
from tests import model_servers
from tests.client import V1, Client
from tests.http.helpers import assistant_with, run_of, said_by, thread_with
from tests.scripted import ScriptedServer, calls, chunk, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SAMPLING = ("temperature", "top_p", "parallel_tool_calls", "response_format")
SHOWN = {"temperature": 1.0, "top_p": 1.0, "parallel_tool_calls": True, "response_format": "auto"}


async def run_with(client: Client, assistant: Any, **settings: Any) -> Any:
    """Runs a new thread to its end, and returns the run."""
    thread = await thread_with(client, "Hi")
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **settings})
    return await client.settled(run)


def sent_by(model: ScriptedServer) -> dict[str, Any]:
    """Returns the sampling settings of the last model call."""
    return {name: model.requests[-1][name] for name in SAMPLING if name in model.requests[-1]}


async def test_settings_that_nobody_set_are_shown_and_not_sent(client: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(client, tools=[WEATHER])
    run = await run_with(client, assistant)
    assert {name: run[name] for name in SAMPLING} == SHOWN
    assert sent_by(model) == {}
    await run_with(client, assistant, temperature=None, top_p=None, parallel_tool_calls=None, response_format=None)
    assert sent_by(model) == {}


async def test_settings_that_equal_the_default_are_sent_if_they_were_set(client: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(client, tools=[WEATHER], temperature=1)
    await run_with(client, assistant, parallel_tool_calls=True, response_format="auto")
    assert sent_by(model) == {"temperature": 1, "parallel_tool_calls": True}
    await run_with(client, assistant, temperature=0.5, top_p=1.0)
    assert sent_by(model) == {"temperature": 0.5, "top_p": 1}
    path = f"/assistants/{assistant['id']}"
    await client.post(path, {"top_p": 1.0, "name": "n"})
    await run_with(client, assistant)
    assert sent_by(model) == {"temperature": 1, "top_p": 1}
    cleared = await client.post(path, {"temperature": None})
    assert (cleared["temperature"], cleared["top_p"]) == (1.0, 1.0)
    await run_with(client, assistant)
    assert sent_by(model) == {"top_p": 1}
    await client.post(path, {"top_p": 0.5})
    await client.post(path, {"top_p": None})
    await run_with(client, assistant)
    assert sent_by(model) == {}


async def test_settings_under_v1(client: Client, model: ScriptedServer) -> None:
    async with Client(client.base_url, V1) as v1:
        assistant = await assistant_with(v1, tools=[WEATHER])
        run = await run_with(v1, assistant)
        assert (run["temperature"], run["top_p"]) == (1.0, 1.0)
        assert sent_by(model) == {}
        await v1.post(f"/assistants/{assistant['id']}", {"temperature": 1})
        await run_with(v1, assistant, top_p=1)
        assert sent_by(model) == {"temperature": 1, "top_p": 1}


@pytest.mark.parametrize("beta", ["assistants=v1", "assistants=v2"])
async def test_claude_behind_a_compatible_server(client: Client, model: ScriptedServer, beta: str) -> None:
    model.check = model_servers.claude
    async with Client(client.base_url, beta) as versioned:
        assistant = await assistant_with(versioned)
        assert (await run_with(versioned, assistant))["status"] == "completed"
        assert len(model.requests) == 1, "nothing was refused"
        assert (await run_with(versioned, assistant, temperature=0.2, top_p=0.9))["status"] == "completed"
        assert sent_by(model) == {"temperature": 0.2}


async def test_the_model_servers_own_call_ids_go_back_to_it(client: Client, model: ScriptedServer) -> None:
    model.check = model_servers.mistral
    own = ["D681PevKs", "x8YzAbCd1"]
    model.script(calls(("weather", {"city": "Rome"}), ("weather", {}), text="Let me see.", ids=own), says("Fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    ids = [call["id"] for call in wanted]
    assert all(id.startswith("call_") for id in ids)
    assert all(set(call) == {"id", "type", "function"} for call in wanted)
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    outputs = [{"tool_call_id": id, "output": f"sun {number}"} for number, id in enumerate(ids)]
    await client.post(path + "/submit_tool_outputs", {"tool_outputs": outputs})
    assert (await client.settled(run))["status"] == "completed"
    for _ in range(2):  # the second run of the thread has the calls in its history
        _, asks, first, second, *_ = model.requests[-1]["messages"]
        assert [call["id"] for call in asks["tool_calls"]] == own
        assert [(one["tool_call_id"], one["content"]) for one in (first, second)] == [
            (own[0], "sun 0"),
            (own[1], "sun 1"),
        ]
        steps = (await client.get(path + "/steps"))["data"]
        shown = [call for step in steps for call in step["step_details"].get("tool_calls", ())]
        assert [(call["id"], set(call)) for call in shown] == [(id, {"id", "type", "function"}) for id in ids]
        await client.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "Again"})
        await client.settled(
            await client.post(f"/threads/{run['thread_id']}/runs", {"assistant_id": run["assistant_id"]})
        )


async def test_a_thread_moves_to_a_server_with_other_call_ids(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    await client.post(f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs", outputs)
    await client.settled(run)
    model.check = model_servers.mistral
    await client.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "Again"})
    again = {"assistant_id": run["assistant_id"], "model": "mistral-large"}
    moved = await client.settled(await client.post(f"/threads/{run['thread_id']}/runs", again))
    assert moved["status"] == "completed"
    assert len(model.requests[-1]["messages"][1]["tool_calls"][0]["id"]) == 9


async def test_two_messages_of_the_user_in_a_row(client: Client, model: ScriptedServer) -> None:
    model.check = model_servers.alternating_template()
    model.default = says("Both.")
    assistant, thread = await assistant_with(client, instructions="Be brief."), await thread_with(client, "One", "Two")
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    assert (await client.settled(run))["status"] == "completed"
    assert await said_by(client, run) == ["Both."]
    assert model.requests[-1]["messages"][1:] == [{"role": "user", "content": "One\n\nTwo"}]


@pytest.mark.parametrize("arguments", ["", "null", "[]", '"{\\"a\\": 1}"', '{"a": 1}', "{'a': 1}", '{"a": 1', None])
async def test_arguments_are_always_an_object(client: Client, model: ScriptedServer, arguments: str | None) -> None:
    function = {"name": "weather", **({} if arguments is None else {"arguments": arguments})}
    piece = {"tool_calls": [{"index": 0, "id": "D681PevKs", "type": "function", "function": function}]}
    model.script(calls(("weather", {})).with_frames(chunk(piece), chunk({}, "tool_calls"), b"data: [DONE]\n\n"))
    assistant = await assistant_with(client, tools=[WEATHER])
    thread = await thread_with(client, "Hi")
    frames = await client.frames(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True})
    run = next(frame.data for frame in frames if frame.event == "thread.run.requires_action")
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    meant = {} if arguments in (None, "", "null", "[]") else {"a": 1}
    assert orjson.loads(call["function"]["arguments"]) == meant
    deltas = [
        piece["function"]["arguments"]
        for frame in frames
        if frame.event == "thread.run.step.delta"
        for piece in frame.data["delta"]["step_details"]["tool_calls"]
    ]
    assert "".join(deltas) == call["function"]["arguments"]
    output = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    await client.post(f"/threads/{thread['id']}/runs/{run['id']}/submit_tool_outputs", output)
    assert (await client.settled(run))["status"] == "completed"
    assert orjson.loads(model.requests[-1]["messages"][1]["tool_calls"][0]["function"]["arguments"]) == meant


async def test_an_answer_without_a_finish_reason_is_one_message(client: Client, model: ScriptedServer) -> None:
    model.script(says("All of it.").with_frames(chunk({"content": "All of it."}), b"data: [DONE]\n\n"))
    run = await client.settled(await run_of(client, "Hi"))
    assert (run["status"], await said_by(client, run)) == ("completed", ["All of it."])
    assert len(model.requests) == 1


async def test_a_model_that_never_stops(client: Client, model: ScriptedServer) -> None:
    piece = "x" * 10_000
    endless = says("", pieces=[piece] * (stream_parser.MAX_REPLY // len(piece) + 1))
    model.default = endless.hangs_after(len(endless.frames) - 3)
    run = await client.settled(await run_of(client, "Go on"))
    assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": "max_completion_tokens"})
    assert [len(text) for text in await said_by(client, run)] == [stream_parser.MAX_REPLY]
    await model.wait_for_disconnect()
    assert len(model.requests) == 1
