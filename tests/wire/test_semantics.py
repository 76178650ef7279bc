"""Defaults, headers, and the effects of modifications (docs/behaviour.md, "Semantics")."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import V1, V2, Answer, Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.scripted import ScriptedServer, calls

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SHOWN = {"type": "function", "function": {**WEATHER["function"], "strict": False}}  # type: ignore[dict-item]
CODE = {"type": "code_interpreter"}
DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "response_format": "auto", "metadata": {}, "tools": []}
RUN_DEFAULTS = {
    **DEFAULTS,
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "max_prompt_tokens": None,
    "max_completion_tokens": None,
    "reasoning_effort": None,
    "instructions": None,
    "tool_resources": {},
}


def part(whole: Any, *of: Any) -> Any:
    return {key: whole[key] for key in of}


async def test_defaults(client: Client) -> None:
    null = dict.fromkeys((*DEFAULTS, "name", "description", "instructions", "reasoning_effort", "tool_resources"))
    for given in ({}, null):
        made = await client.post("/assistants", {"model": "gpt-4o", **given})
        assert part(made, *DEFAULTS) == DEFAULTS
        assert part(made, "name", "description", "instructions", "reasoning_effort", "tool_resources") == {
            "name": None,
            "description": None,
            "instructions": None,
            "reasoning_effort": None,
            "tool_resources": {},
        }
    thread = await client.post("/threads", {"messages": None, "metadata": None, "tool_resources": None})
    assert part(thread, "metadata", "tool_resources") == {"metadata": {}, "tool_resources": {}}
    unset = dict.fromkeys(key for key in RUN_DEFAULTS if key != "tool_resources")
    for given in ({}, {**unset, "stream": None, "additional_messages": None, "additional_instructions": None}):
        thread = await thread_with(client, "Hi")
        run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": made["id"], **given})
        assert part(run, *RUN_DEFAULTS) == RUN_DEFAULTS


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
@pytest.mark.parametrize("body", [None, b"", b"{}", b"null", b" \n"])
async def test_a_thread_needs_no_body(client: Client, beta: str, body: bytes | None) -> None:
    client.headers["OpenAI-Beta"] = beta
    assert (await client.post("/threads", body))["metadata"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_the_assistants_role_wherever_messages_are_made(client: Client, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    assistant = await assistant_with(client)
    thread = await client.post("/threads", {"messages": said})
    path = f"/threads/{thread['id']}"
    assert (await client.post(f"{path}/messages", said[1]))["role"] == "assistant"
    body = {"assistant_id": assistant["id"], "additional_messages": said[::-1]}
    await client.settled(await client.post(f"{path}/runs", body))
    roles = [one["role"] for one in (await client.get(f"{path}/messages", order="asc"))["data"]]
    assert roles == ["user", "assistant", "assistant", "assistant", "user", "assistant"]
    run = await client.post("/threads/runs", {"assistant_id": assistant["id"], "thread": {"messages": said}})
    assert (await client.settled(run))["status"] == "completed"


# The settings before, the modification, and the settings afterwards.
CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"name": "New"}, {"name": "New"}),
    ({"model": "other"}, {"model": "other"}),
    ({"model": None}, {}),
    ({"name": None, "description": None, "instructions": None}, dict.fromkeys(("name", "description", "instructions"))),
    ({"tools": [CODE]}, {"tools": [CODE]}),
    ({"tools": []}, {"tools": []}),
    ({"tools": None}, {"tools": []}),
    ({"metadata": {"x": "y"}}, {"metadata": {"x": "y"}}),
    ({"metadata": {}}, {"metadata": {}}),
    ({"metadata": None}, {"metadata": {}}),
    ({"temperature": None, "top_p": None}, {"temperature": 1.0, "top_p": 1.0}),
    ({"temperature": 0}, {"temperature": 0}),
    ({"response_format": None}, {"response_format": "auto"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_an_assistant_is_modified(client: Client, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    settings = {"name": "n", "description": "d", "instructions": "i", "tools": [WEATHER], "metadata": {"a": "b"}}
    more = {"temperature": 0.5, "top_p": 0.5, "response_format": {"type": "json_object"}}
    for changes, then in CHANGES:
        made = await assistant_with(client, **settings, **more)
        changed = await client.post(f"/assistants/{made['id']}", changes)
        shows_files = beta == V2 and bool(then.get("tools"))
        shown: dict[str, Any] = {"tool_resources": {"code_interpreter": {"file_ids": []}}} if shows_files else {}
        assert changed == {**made, **then, **shown}, changes
        assert await client.get(f"/assistants/{made['id']}") == changed


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_metadata_is_modified(client: Client, beta: str) -> None:
    """For threads, messages and runs: absent metadata keeps the old, null clears it, an object replaces it."""
    client.headers["OpenAI-Beta"] = beta
    run = await client.settled(await run_of(client, "Hi"))
    thread = f"/threads/{run['thread_id']}"
    message = (await client.get(f"{thread}/messages"))["data"][0]
    for path in (thread, f"{thread}/messages/{message['id']}", f"{thread}/runs/{run['id']}"):
        before = await client.get(path)
        for changes, then in (
            ({"metadata": {"a": "b", "c": "d"}}, {"a": "b", "c": "d"}),
            ({}, {"a": "b", "c": "d"}),
            (None, {"a": "b", "c": "d"}),
            ({"metadata": {"c": "e"}}, {"c": "e"}),
            ({"metadata": None}, {}),
        ):
            assert (await client.post(path, changes))["metadata"] == then
            assert await client.get(path) == {**before, "metadata": then}


async def test_a_threads_resources_are_modified(client: Client) -> None:
    nothing: dict[str, Any] = {"code_interpreter": {"file_ids": []}}
    thread = await client.post("/threads", {"tool_resources": nothing})
    path = f"/threads/{thread['id']}"
    for changes, then in (
        ({"metadata": {"a": "b"}}, nothing),
        ({"tool_resources": {"file_search": {"vector_store_ids": []}}}, {"file_search": {"vector_store_ids": []}}),
        ({"tool_resources": None}, {}),
    ):
        assert (await client.post(path, changes))["tool_resources"] == then


async def test_headers_on_every_answer(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})))
    run = await run_of(client, "Hi", tools=[WEATHER])
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    answers = [
        await client.call("GET", "/assistants"),
        await client.call("POST", "/threads"),
        await client.call("GET", "/assistants/asst_no"),
        await client.call("GET", "/nowhere"),
        await client.call("PUT", "/threads"),
        await client.call("POST", "/assistants", b"{"),
        await client.call("GET", "/assistants", headers={"Authorization": ""}),
        await client.call("GET", "/assistants", headers={"OpenAI-Beta": ""}),
    ]
    assert len({_headers(answer.headers) for answer in answers}) == len(answers), "each has its own id"
    await client.settled(run)
    for answer in (await client.call("GET", path), await client.call("POST", f"{path}/cancel")):
        assert 0 < int(answer.headers["openai-poll-after-ms"]) <= 500
        _headers(answer.headers)


def _headers(headers: Any) -> str:
    assert headers["openai-version"] == "2020-10-01"
    assert headers["openai-organization"]
    assert int(headers["openai-processing-ms"]) >= 1
    assert headers["x-request-id"].startswith("req_")
    return str(headers["x-request-id"])


async def test_headers_on_streams(client: Client) -> None:
    body = {
        "assistant_id": (await assistant_with(client))["id"],
        "thread": {"messages": [{"role": "user", "content": "Hi"}]},
        "stream": True,
    }
    async with client.session.post(f"{client.base_url}/threads/runs", json=body, headers=client.headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        _headers(response.headers)
        raw = await response.read()
    assert raw.endswith(b"event: done\ndata: [DONE]\n\n")
    assert client.checked_frames(raw)[0].event == "thread.created"


async def test_a_stream_that_is_refused_is_a_plain_error(client: Client) -> None:
    answer: Answer = await client.call("POST", "/threads/runs", {"assistant_id": "asst_no", "stream": True})
    assert answer.error == (404, "No assistant found with id 'asst_no'.", None, None)
    assert answer.headers["Content-Type"].startswith("application/json")
