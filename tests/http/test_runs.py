"""Runs over HTTP, with a real server, a real Postgres, and a scripted model."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Client
from tests.clock import WallClock
from tests.http.helpers import assistant_with, run_of, said_by, thread_with
from tests.scripted import ScriptedServer, breaks_after, calls, cuts_off, errors, hangs, hits_filter, refuses, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


async def test_a_plain_run(client: Client, model: ScriptedServer) -> None:
    model.script(says("x is 1."))
    run = await run_of(client, "What is x?", instructions="Be short.")
    assert (run["status"], run["started_at"], run["usage"]) == ("queued", None, None)
    assert run["expires_at"] == run["created_at"] + 600
    done = await client.settled(run)
    assert done["status"] == "completed"
    assert done["expires_at"] is None
    assert done["usage"]["total_tokens"] > 0
    path = f"/threads/{run['thread_id']}"
    messages = (await client.get(path + "/messages"))["data"]
    assert [(m["role"], m["content"][0]["text"]["value"]) for m in messages] == [
        ("assistant", "x is 1."),
        ("user", "What is x?"),
    ]
    assert messages[0]["run_id"] == run["id"]
    [step] = (await client.get(f"{path}/runs/{run['id']}/steps"))["data"]
    assert step["step_details"] == {"type": "message_creation", "message_creation": {"message_id": messages[0]["id"]}}
    assert step["usage"] == done["usage"]
    assert await client.get(f"{path}/runs/{run['id']}/steps/{step['id']}") == step


async def test_the_settings_reach_the_model(client: Client, model: ScriptedServer) -> None:
    schema = {
        "name": "answer",
        "schema": {"type": "object", "properties": {}, "additionalProperties": False},
        "strict": True,
    }
    assistant = await assistant_with(client, instructions="Old.", tools=[WEATHER], temperature=0.3)
    thread = await thread_with(client, "Hi", "There")
    run = await client.post(
        f"/threads/{thread['id']}/runs",
        {
            "assistant_id": assistant["id"],
            "model": "another",
            "instructions": "New.",
            "additional_instructions": "And more.",
            "additional_messages": [{"role": "assistant", "content": "So?"}, {"role": "user", "content": "Go on"}],
            "top_p": 0.5,
            "max_completion_tokens": 300,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "metadata": {"a": "b"},
        },
    )
    assert (run["model"], run["instructions"], run["metadata"]) == ("another", "New.\nAnd more.", {"a": "b"})
    request = await model.next_request()
    assert request["messages"] == [
        {"role": "system", "content": "New.\nAnd more."},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "There"},
        {"role": "assistant", "content": "So?"},
        {"role": "user", "content": "Go on"},
    ]
    assert request["model"] == "another"
    assert (request["temperature"], request["top_p"]) == (0.3, 0.5)
    assert request["tool_choice"] == "required"
    assert request["parallel_tool_calls"] is False
    assert request["response_format"]["json_schema"] == schema
    assert request["tools"] == [{"type": "function", "function": WEATHER["function"]}]
    assert 300 in (request.get("max_tokens"), request.get("max_completion_tokens"))


async def test_parallel_functions_and_wrong_outputs(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})), says("Both fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    assert run["status"] == "requires_action"
    wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    ids = [call["id"] for call in wanted]
    assert [call["function"]["arguments"] for call in wanted] == ['{"city":"Rome"}', '{"city":"Oslo"}']
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    outputs = [{"tool_call_id": id, "output": f"sun {number}"} for number, id in enumerate(ids)]
    for wrong in ([outputs[0]], [outputs[0], outputs[0]], [*outputs, {"tool_call_id": "call_x", "output": ""}], []):
        got = [output["tool_call_id"] for output in wrong]
        answer = await client.call("POST", path + "/submit_tool_outputs", {"tool_outputs": wrong})
        message = f"Expected tool outputs for call_ids {ids}, got {got}"
        assert answer.status == 400
        assert wrong == [] or answer.error == (400, message, None, None)
    woken = await client.post(path + "/submit_tool_outputs", {"tool_outputs": outputs[::-1]})
    assert (woken["status"], woken["required_action"]) == ("queued", None)
    done = await client.settled(run)
    assert done["status"] == "completed"
    steps = (await client.get(path + "/steps", order="asc"))["data"]
    assert [step["type"] for step in steps] == ["tool_calls", "message_creation"]
    assert [c["function"]["output"] for c in steps[0]["step_details"]["tool_calls"]] == ["sun 0", "sun 1"]
    totals = [sum(step["usage"][key] for step in steps) for key in ("prompt_tokens", "completion_tokens")]
    assert totals == [done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]]
    await model.next_request()
    second = (await model.next_request())["messages"]
    assert [m["role"] for m in second] == ["user", "assistant", "tool", "tool"]
    assert [m["content"] for m in second[2:]] == ["sun 0", "sun 1"]
    late = await client.call("POST", path + "/submit_tool_outputs", {"tool_outputs": outputs})
    assert late.error == (400, 'Runs in status "completed" do not accept tool outputs.', None, None)


async def test_the_thread_is_locked_while_a_run_is_active(client: Client, model: ScriptedServer) -> None:
    model.script(says("Later").waits("gate"))
    run = await run_of(client, "Hi")
    await model.wait_for_gate("gate")
    path = f"/threads/{run['thread_id']}"
    message = await client.call("POST", path + "/messages", {"role": "user", "content": "More"})
    text = f"Can't add messages to {run['thread_id']} while a run {run['id']} is active."
    assert message.error == (400, text, None, None)
    second = await client.call(
        "POST",
        path + "/runs",
        {"assistant_id": run["assistant_id"], "additional_messages": [{"role": "user", "content": "More"}]},
    )
    assert second.error == (400, f"Thread {run['thread_id']} already has an active run {run['id']}.", None, None)
    assert len((await client.get(path + "/messages"))["data"]) == 1
    model.open_gate("gate")
    assert (await client.settled(run))["status"] == "completed"
    assert await said_by(client, run) == ["Later"]


@pytest.mark.slow
async def test_cancelling_stops_the_model_call(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two three").waits("middle", before=3))
    run = await run_of(client, "Count")
    await model.wait_for_gate("middle")
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    assert (await client.post(path + "/cancel"))["status"] == "cancelling"
    await model.wait_for_disconnect()
    done = await client.settled(run)
    assert done["status"] == "cancelled"
    assert done["cancelled_at"] is not None
    again = await client.call("POST", path + "/cancel")
    assert again.error == (400, "Cannot cancel run with status 'cancelled'.", None, None)
    added = await client.call(
        "POST", f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "Free again"}
    )
    assert added.status == 200


async def test_cancelling_a_run_that_requires_action(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    assert (await client.post(path + "/cancel"))["status"] == "cancelling"
    assert (await client.settled(run))["status"] == "cancelled"
    [step] = (await client.get(path + "/steps"))["data"]
    assert step["status"] == "cancelled"


async def test_deleting_the_thread_in_mid_run(client: Client, model: ScriptedServer) -> None:
    model.script(hangs(after=2))
    run = await run_of(client, "Hi")
    await model.next_request()
    await client.delete(f"/threads/{run['thread_id']}")
    await model.wait_for_disconnect()
    gone = await client.call("GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
    assert gone.error == (404, f"No thread found with id '{run['thread_id']}'.", None, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "status", "expected"),
    [
        (
            cuts_off("Half"),
            "incomplete",
            {"incomplete_details": {"reason": "max_completion_tokens"}, "last_error": None},
        ),
        (hits_filter("Half"), "incomplete", {"incomplete_details": {"reason": "content_filter"}, "last_error": None}),
        (refuses("I will not."), "completed", {"last_error": None}),
    ],
)
async def test_other_ends(
    client: Client, model: ScriptedServer, reply: Any, status: str, expected: dict[str, Any]
) -> None:
    model.script(reply)
    done = await client.settled(await run_of(client, "Hi"))
    assert {key: done[key] for key in ("status", *expected)} == {"status": status, **expected}


async def test_a_refusal_is_a_part_of_its_own(client: Client, model: ScriptedServer) -> None:
    model.script(refuses("I will not."))
    run = await client.settled(await run_of(client, "Hi"))
    messages = (await client.get(f"/threads/{run['thread_id']}/messages"))["data"]
    assert messages[0]["content"] == [{"type": "refusal", "refusal": "I will not."}]


async def test_the_real_cause_is_in_last_error(client: Client, model: ScriptedServer) -> None:
    model.script(errors(400, {"error": {"message": "The prompt is bad.", "type": "invalid_request_error"}}))
    done = await client.settled(await run_of(client, "Hi"))
    assert (done["status"], done["failed_at"] is not None) == ("failed", True)
    assert "The prompt is bad." in done["last_error"]["message"]


@pytest.mark.slow
async def test_a_call_that_breaks_in_mid_answer_is_made_again(client: Client, model: ScriptedServer) -> None:
    model.script(breaks_after(4, "This is only half."), says("Whole."))
    run = await client.settled(await run_of(client, "Hi"))
    assert run["status"] == "completed"
    path = f"/threads/{run['thread_id']}/messages"
    whole, part, question = (await client.get(path))["data"]
    assert [one["content"][0]["text"]["value"] for one in (whole, part)] == ["Whole.", "This is only"]
    assert (part["status"], part["incomplete_details"]) == ("incomplete", {"reason": "run_failed"})
    assert part["incomplete_at"] is not None
    assert not {"status", "incomplete_details"} & (set(whole) | set(question))
    assert await client.get(f"{path}/{part['id']}") == part
    steps = (await client.get(f"/threads/{run['thread_id']}/runs/{run['id']}/steps", order="asc"))["data"]
    assert [step["status"] for step in steps] == ["failed", "completed"]
    await model.next_request()
    assert (await model.next_request())["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_tool_without_machinery_fails_the_run_and_says_so(client: Client) -> None:
    done = await client.settled(await run_of(client, "Hi", tools=[{"type": "code_interpreter"}]))
    assert done["status"] == "failed"
    assert "'code_interpreter'" in done["last_error"]["message"]


async def test_a_rejected_run_leaves_nothing(client: Client) -> None:
    assistant = await assistant_with(client)
    thread = await client.post("/threads")
    path = f"/threads/{thread['id']}"
    answer = await client.call(
        "POST",
        path + "/runs",
        {"assistant_id": assistant["id"], "additional_messages": [{"role": "assistant", "content": "I begin."}]},
    )
    message = "Run creation requires a Thread with a user message or an assistant with instructions."
    assert answer.error == (400, message, None, "invalid_thread")
    assert (await client.get(path + "/messages"))["data"] == []
    assert (await client.get(path + "/runs"))["data"] == []


@pytest.mark.slow
@pytest.mark.usefixtures("frequent_scans")
async def test_a_run_expires_on_time(start_server: Any, model: ScriptedServer, wall: WallClock) -> None:
    model.script(hangs(after=2, text="So far").waits("silent", before=2))
    async with start_server(run_expires_s=300) as client:
        run = await run_of(client, "Hi")
        await model.wait_for_gate("silent")
        wall.skip(298)
        assert (await client.get(f"/threads/{run['thread_id']}/runs/{run['id']}"))["status"] == "in_progress"
        wall.skip(2)
        assert (await client.settled(run))["status"] == "expired"
        await model.wait_for_disconnect()


async def test_modify(client: Client, model: ScriptedServer) -> None:
    run = await client.settled(await run_of(client, "Hi"))
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    changed = await client.post(path, {"metadata": {"b": "2", "a": "1"}})
    assert changed == {**run, "metadata": {"b": "2", "a": "1"}}
    model.script(says("Later").waits("gate"))
    second = await client.post(f"/threads/{run['thread_id']}/runs", {"assistant_id": run["assistant_id"]})
    await model.wait_for_gate("gate")
    refused = await client.call("POST", f"/threads/{run['thread_id']}/runs/{second['id']}", {"metadata": {"a": "1"}})
    assert refused.error == (400, "Cannot update run with status 'in_progress'.", None, None)
    model.open_gate("gate")
