"""Every object and frame in every course of a run, in both versions.

These tests cause them, and the client validates each answer as tests/wire/validation.py says.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.client import V1, V2, Client, Frame
from tests.scripted import Reply, ScriptedServer, calls, cuts_off, errors, hangs, hits_filter, refuses, says

WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells the weather.", "strict": True}}
SETTINGS: dict[str, Any] = {
    "name": "Tutor",
    "description": "Helps.",
    "instructions": "Be short.",
    "metadata": {"a": "b"},
    "temperature": 0,
    "top_p": 0.5,
}
OVERRIDES: dict[str, Any] = {
    "additional_instructions": "Please.",
    "additional_messages": [{"role": "assistant", "content": "So?"}, {"role": "user", "content": "Go on"}],
    "max_prompt_tokens": 1000,
    "max_completion_tokens": 1000,
    "truncation_strategy": {"type": "last_messages", "last_messages": 5},
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": {"type": "json_object"},
    "metadata": {"c": "d"},
}
ENDS: list[tuple[str, Reply, dict[str, str]]] = [
    ("plain", says("Fine."), {"v1": "completed", "v2": "completed"}),
    ("incomplete", cuts_off("Half"), {"v1": "completed", "v2": "incomplete"}),
    ("filtered", hits_filter("Half"), {"v1": "completed", "v2": "incomplete"}),
    ("refused", refuses("I will not."), {"v1": "completed", "v2": "completed"}),
    ("failed", errors(400), {"v1": "failed", "v2": "failed"}),
    ("broken", says("one two").breaks_after(2), {"v1": "completed", "v2": "completed"}),
    ("tools", calls(("weather", {"a": 1}), text="I look."), {"v1": "completed", "v2": "completed"}),
    ("expired", hangs(after=2), {"v1": "expired", "v2": "expired"}),
]
Start = Callable[..., AbstractAsyncContextManager[Client]]


async def read_everything(client: Client, run: Any) -> None:
    """Reads all objects of a run, each alone and in a list."""
    path = f"/threads/{run['thread_id']}"
    await client.get(path)
    for message in (await client.get(f"{path}/messages"))["data"]:
        assert await client.get(f"{path}/messages/{message['id']}") == message
    for step in (await client.get(f"{path}/runs/{run['id']}/steps"))["data"]:
        assert await client.get(f"{path}/runs/{run['id']}/steps/{step['id']}") == step
    assert (await client.get(f"{path}/runs"))["data"] == [await client.get(f"{path}/runs/{run['id']}")]


async def follow_run(client: Client, frames: list[Frame]) -> Any:
    """Returns the run at the end of the frames. Submits outputs for functions if the run requires them."""
    run = frames[-2].data
    while run["status"] == "requires_action":
        await read_everything(client, run)
        wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        body = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"} for call in wanted], "stream": True}
        run = (await client.frames(f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs", body))[-2].data
    return run


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
@pytest.mark.parametrize("streams", [True, False])
async def test_every_way_a_run_can_go(start_server: Start, model: ScriptedServer, beta: str, streams: bool) -> None:
    for name, reply, ends in ENDS:
        model.script(reply)
        async with start_server(run_expires_s=1 if name == "expired" else 600) as client:
            client.headers["OpenAI-Beta"] = beta
            assistant = await client.post("/assistants", {"model": "gpt-4o", "tools": [WEATHER], **SETTINGS})
            thread = {"messages": [{"role": "user", "content": "Hi", "metadata": {"e": "f"}}], "metadata": {"g": "h"}}
            body = {"assistant_id": assistant["id"], "thread": thread, "stream": streams}
            if streams:
                run = await follow_run(client, await client.frames("/threads/runs", body))
            else:
                run = await poll_run(client, await client.post("/threads/runs", body))
            assert run["status"] == ends[beta[-2:]], name
            assert (run["incomplete_details"] is not None) == (name in ("incomplete", "filtered"))
            await read_everything(client, run)


async def poll_run(client: Client, run: Any) -> Any:
    run = await client.settled(run)
    while run["status"] == "requires_action":
        wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": "sun"} for call in wanted]
        path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
        run = await client.settled(await client.post(path, {"tool_outputs": outputs}))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_every_setting_and_every_operation(client: Client, model: ScriptedServer, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    hosted = {"type": "file_search"} if beta == V2 else {"type": "retrieval"}
    tools = [WEATHER, {"type": "code_interpreter"}, hosted]
    assistant = await client.post("/assistants", {"model": "gpt-4o", "tools": tools, **SETTINGS})
    await client.get("/assistants")
    path = f"/assistants/{assistant['id']}"
    await client.post(path, {"tools": [WEATHER], "response_format": {"type": "json_object"}})
    await client.get(path)
    thread = await client.post("/threads")
    messages = f"/threads/{thread['id']}/messages"
    message = await client.post(messages, {"role": "user", "content": "Hi"})
    await client.post(f"{messages}/{message['id']}", {"metadata": {"a": "b"}})
    await client.post(f"/threads/{thread['id']}", {"metadata": {"a": "b"}})
    model.script(says("one two three").waits("middle", before=2))
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **OVERRIDES})
    await model.wait_for_gate("middle")
    await client.post(f"/threads/{thread['id']}/runs/{run['id']}/cancel")
    assert (await client.settled(run))["status"] == "cancelled"
    await read_everything(client, run)
    await client.post(f"/threads/{thread['id']}/runs/{run['id']}", {"metadata": {"e": "f"}})
    await client.delete(f"{messages}/{message['id']}")
    await client.delete(f"/threads/{thread['id']}")
    await client.delete(path)
    assert (await client.call("GET", path)).status == 404


async def test_v1_is_shown_what_it_cannot_say(client: Client, model: ScriptedServer) -> None:
    """Reads a thread of v2 in v1: images by URL, required tool choices, schemas."""
    strict = {"type": "object", "properties": {}, "additionalProperties": False}
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": strict, "strict": True}}
    settings = {"reasoning_effort": "low", "response_format": schema, "tools": [WEATHER, {"type": "file_search"}]}
    assistant = await client.post("/assistants", {"model": "gpt-4o", **settings})
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    content = [{"type": "text", "text": "What is it?"}, image]
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": content}]})
    model.script(refuses("I will not."))
    body = {"assistant_id": assistant["id"], "tool_choice": "required", "tools": [WEATHER]}
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", body))
    client.headers["OpenAI-Beta"] = V1
    await read_everything(client, run)
    shown = await client.get(f"/assistants/{assistant['id']}")
    assert shown["response_format"] == {"type": "json_object"}
    assert [tool["type"] for tool in shown["tools"]] == ["function", "retrieval"]
    assert await client.get("/assistants") is not None
