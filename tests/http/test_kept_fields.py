"""Fields of replies that model servers want back with the tool calls of the same run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from service.model.kept_fields import MAX_KEPT_BYTES, KeptFields
from tests.client import Client
from tests.http.helpers import run_of
from tests.scripted import ScriptedServer, calls, chunk, says
from tests.scripted_replies import DONE, Reply, errors

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SIGNATURE = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
Json = dict[str, Any]


def a_call(*deltas: Json, **fields: Any) -> Reply:
    """A call of the function, after other deltas and with fields of its own."""
    function = {"name": "weather", "arguments": "{}"}
    call = {"index": 0, "id": "D681PevKs", "type": "function", "function": function, **fields}
    frames = [*map(chunk, deltas), chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE]
    return calls(("weather", {})).with_frames(*frames)


def demands(is_there: Callable[[Json], bool], text: str) -> Callable[[Json], Reply | None]:
    """A server that refuses requests in which a message with calls lacks something."""

    def check(request: Json) -> Reply | None:
        asking = [message for message in request["messages"] if message.get("tool_calls")]
        return None if all(map(is_there, asking)) else errors(400, {"error": {"message": text}})

    return check


async def answer_call(client: Client, run: Any) -> Any:
    """Gives the run its output, and returns it at its end."""
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert set(call) == {"id", "type", "function"}
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    await client.post(path + "/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]})
    return await client.settled(run)


async def test_a_signature_goes_back_to_the_server_that_gave_it(client: Client, model: ScriptedServer) -> None:
    text = "Function call is missing a thought_signature in functionCall parts."
    model.check = demands(lambda message: message["tool_calls"][0].get("extra_content") == SIGNATURE, text)
    model.script(a_call(extra_content=SIGNATURE), says("Fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    assert (await answer_call(client, run))["status"] == "completed"
    assert len(model.requests) == 2, "nothing was refused"
    shown = await client.get(f"/threads/{run['thread_id']}/runs/{run['id']}/steps")
    assert "thought_signature" not in orjson.dumps(shown).decode()

    # Another run may have another server, which would not know the field.
    model.check = lambda request: None
    model.script(says("Again."))
    await client.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "Again"})
    again = await client.post(f"/threads/{run['thread_id']}/runs", {"assistant_id": run["assistant_id"]})
    await client.settled(again)
    assert "extra_content" not in orjson.dumps(model.requests[-1]).decode()


async def test_reasoning_goes_back_to_a_server_that_demands_it(client: Client, model: ScriptedServer) -> None:
    text = "The `reasoning_content` in the thinking mode must be passed back to the API."
    model.check = demands(lambda message: message.get("reasoning_content") == "It is hot.", text)
    pieces = ({"reasoning_content": "It is "}, {"reasoning_content": "hot."}, {"content": "Let me see."})
    model.script(a_call(*pieces), says("Fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    assert (await answer_call(client, run))["status"] == "completed"
    assert len(model.requests) == 3, "one call was refused, and the server's demand is known from then on"
    assert "reasoning_content" not in model.requests[1]["messages"][1]


async def test_reasoning_is_not_sent_to_other_servers(client: Client, model: ScriptedServer) -> None:
    model.script(a_call({"reasoning_content": "It is hot."}), says("Fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    assert (await answer_call(client, run))["status"] == "completed"
    assert set(model.requests[-1]["messages"][1]) == {"role", "content", "tool_calls"}


async def test_details_of_a_gateway_go_back_whole(client: Client, model: ScriptedServer) -> None:
    def detail(**fields: Any) -> Json:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, "format": "a", **fields}]}

    hidden = {"reasoning_details": [{"type": "reasoning.encrypted", "index": 0, "data": "x"}]}
    model.script(a_call(detail(text="It "), detail(text="is."), detail(signature="s"), hidden, hidden), says("Fine."))
    run = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    await answer_call(client, run)
    assert model.requests[-1]["messages"][1]["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "format": "a", "text": "It is.", "signature": "s"},
        *hidden["reasoning_details"] * 2,
    ]


@pytest.mark.parametrize(
    "value", ["x" * MAX_KEPT_BYTES, "\x00", "\ud800"], ids=["too large", "no text of Postgres", "half a character"]
)
def test_fields_that_cannot_be_stored_are_left_out(value: str) -> None:
    kept = KeptFields()
    kept.read_message({"reasoning_content": "Hm.", "reasoning_details": [{"text": value}]})
    kept.read_call(0, {"extra_content": {"a": value}})
    kept.read_call(1, {"extra_content": SIGNATURE, "provider_specific_fields": None})
    assert kept.end() == ({"reasoning_content": "Hm."}, {1: {"extra_content": SIGNATURE}})


def test_all_fields_of_a_reply_share_one_bound() -> None:
    kept = KeptFields()
    half = {"extra_content": {"a": "x" * (MAX_KEPT_BYTES // 2)}}
    kept.read_call(0, half)
    kept.read_call(1, half)
    kept.read_message({"reasoning": "x" * (MAX_KEPT_BYTES // 4)})
    kept.read_message({"thinking_blocks": [{"thinking": "x" * MAX_KEPT_BYTES}]})
    message, of_calls = kept.end()
    assert list(of_calls) == [0]
    assert list(message) == ["reasoning_content"]
