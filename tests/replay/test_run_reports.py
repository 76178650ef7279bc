"""Two runs side by side, and the bundle of a run, which holds none of its texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from events.thread.commands import ThreadCommand
from service.database import Pool
from service.replay.run_bundle import make_bundle
from service.replay.run_diff import compare_runs, first_difference
from service.replay.run_reader import RunReader
from service.replay.run_timeline import RunTimeline
from service.replay.run_view import RunView
from tests.client import Client
from tests.events.thread.story import CREATE, Story, add, break_call, claim, finish, given, run, start, submit
from tests.http.helpers import assistant_with
from tests.http.stores import settled, store_with
from tests.scripted import ScriptedServer, calls, errors, says


def entries_of(story: Story, run_id: str = "run_1") -> list[dict[str, Any]]:
    view = RunView()
    return [view.to_json(entry) for entry in RunTimeline(story.state.id, run_id, lambda _: "again").add(story.log)]


def story_of(*commands: ThreadCommand) -> Story:
    story = given(CREATE, add("Hi"))
    for second, command in enumerate(commands):
        story.do(command, after=second)
    return story


def test_runs_that_differ_in_ids_and_times_are_alike() -> None:
    first = story_of(run(claim=claim()), finish("Hello."))
    second = given(CREATE, add("Hi", "msg_other"))
    second.do(run("run_2", claim=claim(process=7, first="9")), after=50)
    second.do(replace(finish("Hello."), run_id="run_2"), after=99)
    pairs = compare_runs(entries_of(first), entries_of(second, "run_2"))
    assert first_difference(pairs) is None
    assert len(pairs) == len(entries_of(first))


def test_where_runs_part() -> None:
    plain = entries_of(story_of(run(claim=claim()), finish("Hello.")))
    other = entries_of(story_of(run(claim=claim()), finish("Good day.")))
    pairs = compare_runs(plain, other)
    place = first_difference(pairs)
    assert place is not None
    left = pairs[place].left
    assert left is not None
    assert left["type"] == "message.written"
    [found] = pairs[place].differences
    assert (found.path, found.left, found.right) == ("content.content[0].text.value", "Hello.", "Good day.")
    broken = entries_of(story_of(run(claim=claim()), break_call("A part"), start("2"), finish("Hello.")))
    pairs = compare_runs(plain, broken)
    assert first_difference(pairs) is not None
    assert any(pair.left is None for pair in pairs)


def test_a_prompt_that_differs() -> None:
    story = given(CREATE, add("Hi there"))
    story.do(run(claim=claim()), after=1)
    story.do(finish("Hello."), after=2)
    pairs = compare_runs(entries_of(story_of(run(claim=claim()), finish("Hello."))), entries_of(story))
    place = first_difference(pairs)
    assert place is not None
    assert [found.path for found in pairs[place].differences] == ["prompt.parts[1].messages[0].content"]
    with_tools = story_of(run(claim=claim()), finish("", "call_1"), submit("call_1", claim=claim(first="2")))
    assert first_difference(compare_runs(entries_of(with_tools), entries_of(with_tools))) is None


def secret(name: str) -> str:
    """Returns a text that a bundle must not hold, also not in part."""
    return f"SECRET{name}" * 3


@pytest.mark.slow
async def test_no_text_of_a_run_is_in_its_bundle(client: Client, pool: Pool, model: ScriptedServer) -> None:
    store = await store_with(client, f"{secret('file')}.txt")
    await settled(client, store["id"])
    schema = {
        "type": "object",
        "properties": {secret("property"): {"type": "string", "enum": [secret("enum")], "default": 7654321}},
    }
    weather = {"name": "weather", "description": secret("description"), "parameters": schema}
    assistant = await assistant_with(
        client,
        instructions=secret("instructions"),
        tools=[{"type": "function", "function": weather}, {"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": [store["id"]]}},
        name=secret("name"),
        description=secret("about"),
    )
    content = [
        {"type": "text", "text": secret("question")},
        {"type": "image_url", "image_url": {"url": f"https://example.com/{secret('image')}.png"}},
    ]
    body = {"messages": [{"role": "user", "content": content, "metadata": {secret("key"): secret("value")}}]}
    thread = await client.post("/threads", body)
    model.script(
        errors(503, {"error": {"message": secret("busy")}}),
        calls(("file_search", {"queries": [secret("query")]})),
        calls(("weather", {secret("property"): secret("argument"), "n": 7654321})),
    )
    asked = {
        "assistant_id": assistant["id"],
        "metadata": {secret("key"): secret("value")},
        "additional_instructions": secret("additional"),
        "response_format": {"type": "json_schema", "json_schema": {"name": "SECRETformat", "schema": schema}},
    }
    started = await client.settled(await client.post(f"/threads/{thread['id']}/runs", asked))
    [call] = started["required_action"]["submit_tool_outputs"]["tool_calls"]
    model.script(says(secret("answer")))
    path = f"/threads/{thread['id']}/runs/{started['id']}"
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": secret("output")}]}
    await client.settled(await client.post(f"{path}/submit_tool_outputs", outputs))
    await client.post(path, {"metadata": {secret("key"): secret("other")}})
    view, reader = RunView(), RunReader(pool, thread["id"], started["id"], lambda _: "again")
    entries = [view.to_json(entry) async for entry in reader.entries()]
    assert "SECRETanswer" in str(entries)
    bundle = orjson.dumps(make_bundle(entries, software="test", run_id=started["id"])).decode()
    assert "SECRET" not in bundle
    assert "7654321" not in bundle
    assert "key:default" not in bundle
    for kept in ("weather", "file_search", started["id"], call["id"], assistant["id"], "model_call.finished", "gpt-4o"):
        assert kept in bundle
    assert "characters>" in bundle
