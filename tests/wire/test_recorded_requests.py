"""Requests that the documents refuse and the original accepted (docs/behaviour.md), and empty resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import V1, V2, Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.scripted import ScriptedServer, says
from tests.wire.replay import RECORDINGS, load

CODE, SEARCH = {"type": "code_interpreter"}, {"type": "file_search"}
NO_FILES: dict[str, Any] = {"code_interpreter": {"file_ids": []}}
NO_STORES: dict[str, Any] = {"file_search": {"vector_store_ids": []}}
FUNCTION = {"type": "function", "function": {"name": "f"}}


def recorded_assistants(value: Any) -> Iterator[Any]:
    """Yields the assistants in a recorded answer."""
    if isinstance(value, dict) and value.get("object") == "assistant":
        yield value
    elif isinstance(value, dict) and value.get("object") == "list":
        for item in value["data"]:
            yield from recorded_assistants(item)


async def test_every_recorded_assistant_has_its_resources(client: Client) -> None:
    """The keys of tool_resources of each assistant in the recordings, from its tools alone."""
    found = {
        str(one["tools"]): one
        for path in RECORDINGS.glob("*.json")
        for exchange in load(path.stem)
        for one in recorded_assistants(exchange.response)
    }
    assert sum("code_interpreter" in tools for tools in found) >= 2
    for recorded in found.values():
        made = await client.post("/assistants", {"model": "gpt-4o", "tools": recorded["tools"]})
        assert list(made["tool_resources"]) == list(recorded["tool_resources"])
        assert made["tool_resources"].get("code_interpreter") == recorded["tool_resources"].get("code_interpreter")


@pytest.mark.parametrize(
    ("tools", "resources"),
    [
        ([CODE], NO_FILES),
        ([SEARCH], NO_STORES),
        ([CODE, SEARCH], {**NO_FILES, **NO_STORES}),
        ([FUNCTION, CODE, CODE], NO_FILES),
        ([FUNCTION], {}),
        ([], {}),
    ],
)
async def test_empty_resources_of_hosted_tools(client: Client, tools: list[Any], resources: Any) -> None:
    made = await client.post("/assistants", {"model": "gpt-4o", "tools": tools})
    path = f"/assistants/{made['id']}"
    plain = await client.post("/assistants", {"model": "gpt-4o", "tool_resources": {"code_interpreter": {}}})
    assert plain["tool_resources"] == NO_FILES
    changes: tuple[Any, ...] = (None, {}, {"file_search": {}})
    for given in changes:
        shown = (await client.post(path, {"tool_resources": given}))["tool_resources"]
        assert shown == {**(NO_STORES if given else {}), **resources}
    await client.post(path, {"tool_resources": None})
    modified = await client.post(path, {"name": "n"})
    [listed] = [one for one in (await client.get("/assistants"))["data"] if one["id"] == made["id"]]
    for shown in (made, modified, await client.get(path), listed):
        assert shown["tool_resources"] == resources
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": "Hi"}]})
    assert thread["tool_resources"] == {}
    assert (await client.get(f"/threads/{thread['id']}"))["tool_resources"] == NO_FILES
    without = await client.post(path, {"tools": []})
    assert without["tool_resources"] == {}


async def test_resources_of_an_assistant_of_v1(client: Client) -> None:
    client.headers["OpenAI-Beta"] = V1
    made = await client.post("/assistants", {"model": "gpt-4o", "tools": [CODE]})
    assert made["file_ids"] == []
    assert "tool_resources" not in made
    client.headers["OpenAI-Beta"] = V2
    assert (await client.get(f"/assistants/{made['id']}"))["tool_resources"] == NO_FILES


@pytest.mark.parametrize("beta", [V1, V2])
async def test_small_token_budgets(client: Client, model: ScriptedServer, beta: str) -> None:
    """16 was accepted and echoed, 15 times."""
    client.headers["OpenAI-Beta"] = beta
    budgets = {"max_completion_tokens": 16, "max_prompt_tokens": 16}
    assistant = await assistant_with(client)
    body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    thread = await thread_with(client, "Hi")
    for path, given in (("/threads/runs", body), (f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})):
        run = await client.post(path, {**given, **budgets})
        for shown in (run, await client.settled(run)):
            assert {name: shown[name] for name in budgets} == budgets
    run = await client.settled(await client.post("/threads/runs", {**body, "max_completion_tokens": 1}))
    assert (run["status"], run["max_completion_tokens"]) == ("completed", 1)
    assert model.requests[-1]["max_tokens"] == 1


async def test_a_run_of_v1_on_an_empty_thread(client: Client, model: ScriptedServer) -> None:
    """Recorded 22 times in v1: 200, queued. v2 refuses it."""
    client.headers["OpenAI-Beta"] = V1
    model.default = says("Hello!")
    assistant = await assistant_with(client, instructions=None)
    thread = await client.post("/threads")
    body: dict[str, Any] = {"assistant_id": assistant["id"]}
    first = await client.post(f"/threads/{thread['id']}/runs", body)
    assert first["status"] == "queued"
    second = await client.post("/threads/runs", body)
    for run in (first, second):
        assert (await client.settled(run))["status"] == "completed"
    assert [request["messages"] for request in model.requests] == [
        [{"role": "system", "content": "You are a helpful assistant."}]
    ] * 2
    client.headers["OpenAI-Beta"] = V2
    for path in (f"/threads/{(await client.post('/threads'))['id']}/runs", "/threads/runs"):
        refused = await client.call("POST", path, body)
        assert (refused.status, refused.body["error"]["code"]) == (400, "invalid_thread")


METADATA = {"a": True, "b": False, "c": 1, "d": 1.5, "e": None, "f": ["x", True], "g": {"h": 1}, "i": "text", "j": ""}
TEXTS = {
    "a": "True", "b": "False", "c": "1", "d": "1.5", "e": "None", "f": "['x', True]", "g": "{'h': 1}", "i": "text",
    "j": "",
}  # fmt: skip


async def test_metadata_of_v1_is_stored_as_text(client: Client) -> None:
    """Recorded: `{"modified": true}` came back as `{"modified": "True"}`."""
    client.headers["OpenAI-Beta"] = V1
    sent: dict[str, Any] = {"metadata": METADATA}
    assistant = await assistant_with(client, **sent)
    thread = await client.post("/threads", {**sent, "messages": [{"role": "user", "content": "Hi", **sent}]})
    at = f"/threads/{thread['id']}"
    message = await client.post(f"{at}/messages", {"role": "user", "content": "Hi", **sent})
    assert [one["metadata"] for one in (await client.get(f"{at}/messages"))["data"]] == [TEXTS, TEXTS]
    body = {"assistant_id": assistant["id"], **sent}
    more = {"additional_messages": [{"role": "user", "content": "Hi", **sent}]}
    run = await client.settled(await client.post(f"{at}/runs", {**body, **more}))
    both = await client.settled(await client.post("/threads/runs", {**body, "thread": sent}))
    assert (await client.get(f"/threads/{both['thread_id']}"))["metadata"] == TEXTS
    for one in (assistant, thread, message, run, both):
        assert one["metadata"] == TEXTS
    places = (f"/assistants/{assistant['id']}", at, f"{at}/messages/{message['id']}", f"{at}/runs/{run['id']}")
    for path in places:
        changed = await client.post(path, {"metadata": {"modified": True}})
        assert changed["metadata"] == {"modified": "True"}
        assert (await client.get(path))["metadata"] == {"modified": "True"}


@pytest.mark.parametrize("beta", [V1, V2])
async def test_modifying_an_active_run_is_refused_before_the_body(
    client: Client, model: ScriptedServer, beta: str
) -> None:
    client.headers["OpenAI-Beta"] = beta
    model.script(says("Later").waits("gate"))
    run = await run_of(client, "Hi")
    await model.wait_for_gate("gate")
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    bodies: tuple[Any, ...] = (None, b"{", [], {}, {"metadata": {"modified": True}}, {"metadata": 1}, {"surprise": 1})
    for body in bodies:
        refused = await client.call("POST", path, body)
        assert refused.error == (400, "Cannot update run with status 'in_progress'.", None, None)
    missing = await client.call("POST", f"/threads/{run['thread_id']}/runs/run_none", b"{")
    assert missing.error[:2] == (404, "No run found with id 'run_none'.")
    model.open_gate("gate")
    await client.settled(run)
    other = await thread_with(client, "Hi")
    assert (await client.call("POST", f"/threads/{other['id']}/runs/{run['id']}", {})).status == 404
