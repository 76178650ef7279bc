"""The law of prompts: what a model server received is rendered again from the log, byte for byte, or is kept there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from events.thread import events as e
from events.thread.state import ThreadState, evolve
from service.database import Pool
from service.replay import prompt_rendering
from service.replay.call_prompts import CallPrompt, PromptFold
from service.replay.prompt_rendering import RenderedPrompt, render_prompt
from service.replay.stream_fold import read_slices
from service.runs import history, prompt_records
from service.runs.images import data_url
from tests.client import Client
from tests.conftest import StartServer
from tests.http.files import upload
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.stores import settled, store_with
from tests.model_servers import mistral, openai_reasoning
from tests.scripted import ScriptedServer, breaks_after, calls, errors, hangs, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 2000


async def prompts_of(pool: Pool, thread_id: str) -> list[CallPrompt]:
    """Returns the attempts at model calls that ended in the thread."""
    fold, state, found = PromptFold(), ThreadState(thread_id), []
    async for page in read_slices(pool, thread_id):
        for recorded in page:
            state = evolve(state, recorded)
            call = fold.add(recorded, state)
            if call is not None:
                found.append(call)
    return found


async def rendered(
    pool: Pool, thread_id: str, model: ScriptedServer, urls: dict[str, str] | None = None
) -> list[RenderedPrompt]:
    """Returns the prompts of the thread, each of which the model has received."""
    prompts = [render_prompt(call, urls=urls) for call in await prompts_of(pool, thread_id)]
    for prompt in prompts:
        assert prompt.body in model.bodies
    return prompts


def fidelities(prompts: list[RenderedPrompt]) -> list[str]:
    return [one.fidelity for one in prompts]


async def weather_run(client: Client, model: ScriptedServer, **settings: Any) -> Any:
    """Makes a run with two parallel calls of a function and an answer, in a thread that had an answer before."""
    run = await run_of(client, "Héllo\u2028", tools=[WEATHER], instructions="Be brief.", **settings)
    await client.settled(run)
    thread = run["thread_id"]
    await client.post(f"/threads/{thread}/messages", {"role": "user", "content": "And?"})
    model.script(calls(("weather", {"city": "Paris", "n": 1.0}), ("weather", {})))
    body = {"assistant_id": run["assistant_id"], "additional_instructions": "More.", "max_completion_tokens": 999}
    run = await client.settled(await client.post(f"/threads/{thread}/runs", body))
    calls_made = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "It rains\u0001."} for call in calls_made]
    model.script(says("Take an umbrella."))
    path = f"/threads/{thread}/runs/{run['id']}/submit_tool_outputs"
    return await client.settled(await client.post(path, {"tool_outputs": outputs}))


async def test_functions_and_earlier_runs(client: Client, pool: Pool, model: ScriptedServer) -> None:
    run = await weather_run(client, model, temperature=0.5, top_p=1, response_format={"type": "json_object"})
    prompts = await rendered(pool, run["thread_id"], model)
    assert fidelities(prompts) == ["exact"] * 3
    assert prompts[1].head[0]["content"].split() == ["Be", "brief.", "More."]
    assert [len(unit.messages) for unit in prompts[2].units] == [1, 1, 1, 3]
    messages = (await client.get(f"/threads/{run['thread_id']}/messages", order="asc"))["data"]
    assert [unit.ids[0] for unit in prompts[2].units[:3]] == [one["id"] for one in messages[:3]]


async def test_a_message_that_is_deleted_while_the_model_answers(
    client: Client, pool: Pool, model: ScriptedServer
) -> None:
    model.script(says("a b c").waits("middle", before=1))
    run = await run_of(client, "One")
    await model.wait_for_gate("middle")
    [first] = (await client.get(f"/threads/{run['thread_id']}/messages"))["data"][-1:]
    await client.delete(f"/threads/{run['thread_id']}/messages/{first['id']}")
    model.open_gate("middle")
    await client.settled(run)
    assert fidelities(await rendered(pool, run["thread_id"], model)) == ["exact"]


async def test_last_messages(client: Client, pool: Pool, model: ScriptedServer) -> None:
    run = await weather_run(client, model)
    await client.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "Again"})
    body = {
        "assistant_id": run["assistant_id"],
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
    }
    await client.settled(await client.post(f"/threads/{run['thread_id']}/runs", body))
    prompts = await rendered(pool, run["thread_id"], model)
    assert fidelities(prompts) == ["exact"] * 4
    assert [call.left_out for call in await prompts_of(pool, run["thread_id"])] == [0, 0, 0, 4]


async def test_truncation_by_tokens(client: Client, pool: Pool, model: ScriptedServer) -> None:
    assistant = await assistant_with(client, model="gpt-4")
    thread = await thread_with(client, "the first", *(f"{number} " + "word " * 900 for number in range(12)))
    body = {"assistant_id": assistant["id"], "max_prompt_tokens": 5000}
    await client.settled(await client.post(f"/threads/{thread['id']}/runs", body))
    [prompt] = await rendered(pool, thread["id"], model)
    assert prompt.fidelity == "exact"
    assert 0 < len(prompt.dropped) < 12
    assert prompt.units[0].messages[0]["content"] == "the first"
    assert len(prompt.units) + len(prompt.dropped) == 13


async def test_attempts_that_break_and_retries(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(errors(503, {"error": {"message": "busy"}}), breaks_after(2, "A part"), says("Done."))
    run = await client.settled(await run_of(client, "Hi"))
    assert run["status"] == "completed"
    found = await prompts_of(pool, run["thread_id"])
    assert fidelities([render_prompt(call) for call in found]) == ["exact", "exact"]
    [retry] = found[0].record.retries if found[0].record else []
    assert "busy" in retry.message
    assert retry.wait_s > 0


@pytest.mark.parametrize("check", [openai_reasoning, mistral])
async def test_servers_that_refuse(client: Client, pool: Pool, model: ScriptedServer, check: Any) -> None:
    model.check = check
    run = await weather_run(client, model, temperature=0.5)
    prompts = await rendered(pool, run["thread_id"], model)
    assert fidelities(prompts) == ["exact"] * 3
    records = [call.record for call in await prompts_of(pool, run["thread_id"])]
    assert all(record is not None and record.refused for record in records)


@pytest.mark.parametrize("tools", ['"prompted"', "false"])
async def test_models_without_tools(
    start_server: StartServer, pool: Pool, model: ScriptedServer, tools: str, tmp_path: Any
) -> None:
    models = tmp_path / "models.toml"
    models.write_text(f'[[models]]\nmatch = ["gpt-4o"]\ntools = {tools}\n')
    async with start_server(models=models) as client:
        model.script(says('{"text": "Hello"}'))
        run = await client.settled(await run_of(client, "Hi", tools=[WEATHER]))
        model.script(says('{"city": 1}'))
        body = {"assistant_id": run["assistant_id"], "tool_choice": "required"}
        await client.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "Again"})
        await client.settled(await client.post(f"/threads/{run['thread_id']}/runs", body))
        prompts = await rendered(pool, run["thread_id"], model)
    assert fidelities(prompts) == ["exact"] * 2


async def test_file_search(client: Client, pool: Pool, model: ScriptedServer) -> None:
    store = await store_with(client, "report.txt")
    await settled(client, store["id"])
    model.script(calls(("file_search", {"queries": ["what?"]})), says("That."))
    resources = {"file_search": {"vector_store_ids": [store["id"]]}}
    run = await run_of(client, "Search", tools=[{"type": "file_search"}], tool_resources=resources)
    assert (await client.settled(run))["status"] == "completed"
    prompts = await rendered(pool, run["thread_id"], model)
    assert fidelities(prompts) == ["exact"] * 2
    assert "file_search finds" in prompts[0].head[0]["content"]


async def test_image_files_are_recorded_by_reference(client: Client, pool: Pool, model: ScriptedServer) -> None:
    image = await upload(client, PNG, "vision")
    content = [{"type": "text", "text": "Look"}, {"type": "image_file", "image_file": {"file_id": image["id"]}}]
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": content}]})
    assistant = await assistant_with(client)
    await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    url = data_url(PNG)
    assert url is not None
    [prompt] = await rendered(pool, thread["id"], model, {image["id"]: url})
    assert prompt.fidelity == "exact"
    [call] = await prompts_of(pool, thread["id"])
    assert call.record is not None
    assert call.record.body is None
    assert list(call.record.images) == [image["id"]]
    assert render_prompt(call).fidelity == "unchecked"


async def test_a_request_that_the_log_does_not_determine_is_kept_within_a_bound(
    client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    # The reader of histories leaves out what a window cannot hold, so the history is not whole.
    assistant = await assistant_with(client, model="gpt-4")
    thread = await thread_with(client, "the first", *("word " * 5000 for _ in range(7)))
    body = {"assistant_id": assistant["id"]}
    await client.settled(await client.post(f"/threads/{thread['id']}/runs", body))
    [call] = await prompts_of(pool, thread["id"])
    assert call.record is not None
    assert call.record.body is not None
    assert render_prompt(call).body == model.bodies[-1]
    assert call.record.body.encode() == model.bodies[-1]
    monkeypatch.setattr(prompt_records, "MAX_KEPT_BYTES", 100)
    await client.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Again"})
    await client.settled(await client.post(f"/threads/{thread['id']}/runs", body))
    _, second = await prompts_of(pool, thread["id"])
    assert second.record is not None
    assert (second.record.body, second.record.is_cut) == (None, True)


async def test_the_bound_counts_all_calls_of_a_run(
    client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_records.PromptSource, "is_in_log", False)
    monkeypatch.setattr(prompt_records, "MAX_KEPT_BYTES", 1000)
    model.script(calls(("weather", {})), says("Done."))
    run = await client.settled(await run_of(client, "x" * 500, tools=[WEATHER]))
    [asked] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    outputs = {"tool_outputs": [{"tool_call_id": asked["id"], "output": "x"}]}
    await client.settled(await client.post(path, outputs))
    first, second = [call.record for call in await prompts_of(pool, run["thread_id"])]
    assert first is not None
    assert second is not None
    assert first.body is not None
    assert (second.bytes < 1000, second.body, second.is_cut) == (True, None, True)


async def test_a_cancelled_call_has_its_record(client: Client, pool: Pool, model: ScriptedServer) -> None:
    model.script(hangs())
    run = await run_of(client, "Hi")
    async with asyncio.timeout(20):
        await model.next_request()
    await client.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    await client.settled(run)
    assert fidelities(await rendered(pool, run["thread_id"], model)) == ["exact"]


async def test_a_call_without_a_record_is_rendered_now(client: Client, pool: Pool, model: ScriptedServer) -> None:
    run = await client.settled(await run_of(client, "Hi"))
    [call] = await prompts_of(pool, run["thread_id"])
    recorded, call.record = call.record, None
    assumed = prompt_rendering.AssumedModel("gpt-4o", limit_field="max_tokens")
    prompt = render_prompt(call, assumed=assumed)
    assert prompt.fidelity == "unrecorded"
    assert prompt.body == model.bodies[-1]
    assert isinstance(recorded, e.PromptRecord)
    call.record = recorded.model_copy(update={"sha256": "0" * 64})
    assert render_prompt(call).fidelity == "differs"


async def test_a_fork(client: Client, pool: Pool, model: ScriptedServer) -> None:
    run = await weather_run(client, model)
    fork = await client.post(f"/threads/{run['thread_id']}/fork", {})
    await client.post(f"/threads/{fork['id']}/messages", {"role": "user", "content": "Again"})
    body = {"assistant_id": run["assistant_id"]}
    await client.settled(await client.post(f"/threads/{fork['id']}/runs", body))
    prompts = await rendered(pool, fork["id"], model)
    assert fidelities(prompts) == ["exact"]
