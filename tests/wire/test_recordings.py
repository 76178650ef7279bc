"""Replays recorded traffic of the original against a server. Its answers must hold all that was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.client import Answer, Client
from tests.scripted import Reply, ScriptedServer, calls, says
from tests.wire.replay import RECORDINGS, Exchange, Mapping, load, merge_deltas

WAIT_S = 60.0
REPLAYED = (
    "basic_assistant_operations_work",
    "basic_message_operations_work",
    "basic_run_operations_work",
    "basic_thread_operations_work",
    "function_tools_work",
    "messages_with_roles",
    "pagination_can_page_through_assistant_collection",
    "streaming_run_works",
    "streaming_tool_call",
    "thread_with_image_detail_works",
    "thread_with_initial_messages_works",
)
FILES = {path.stem for kind in ("file_on", "files_", "uploads_") for path in RECORDINGS.glob(f"{kind}*.json")}
NOT_HERE = {
    **dict.fromkeys(("file_search_streaming_works", "file_search_works"), "in test_file_search_recordings.py"),
    **dict.fromkeys(FILES, "in test_file_recordings.py"),
    **{path.stem: "in test_vector_store_recordings.py" for path in RECORDINGS.glob("vector_stores_*.json")},
}
# A run's recorded status, and the statuses that a faster server may show instead.
FASTER = {"queued": {"queued", "in_progress"}}


def test_every_recording_is_replayed_or_has_its_reason() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.json")} == {*REPLAYED, *NOT_HERE}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPLAYED)
async def test_recording(client: Client, model: ScriptedServer, name: str) -> None:
    exchanges = load(name)
    for number, reply in enumerate(_replies(exchanges)):
        model.script(reply.waits(f"gate-{number}", before=1))
    mapping = Mapping()
    await _create_earlier_objects(client, exchanges)
    opened = 0
    for at, exchange in enumerate(exchanges):
        where = f"{at} {exchange.method} {exchange.path}"
        if isinstance(exchange.response, list) or exchange.response.get("status") in ("completed", "requires_action"):
            model.open_gate(f"gate-{opened}")
            opened += 1
        found = await _exchange(client, mapping, exchange)
        differences = mapping.differences(*_comparable(exchange.response, found), where)
        assert differences == []


def _replies(exchanges: Sequence[Exchange]) -> list[Reply]:
    """Returns the replies of the model, one for each of its calls, in order."""
    replies: list[Reply] = []
    for exchange in exchanges:
        if isinstance(exchange.response, list):
            replies.append(_is_streamed(exchange.response))
        elif exchange.response.get("status") == "requires_action":
            [call] = exchange.response["required_action"]["submit_tool_outputs"]["tool_calls"]
            replies.append(calls((call["function"]["name"], call["function"]["arguments"]), usage=(300, 17)))
        elif exchange.response.get("status") == "completed":
            used, before = exchange.response["usage"], (300, 17) if replies else (0, 0)
            usage = (used["prompt_tokens"] - before[0], used["completion_tokens"] - before[1])
            text = _newest_text(exchanges[-1].response)
            replies.append(says(text, usage=usage))
    return replies


def _is_streamed(frames: Sequence[tuple[str, Any]]) -> Reply:
    ended = [data["usage"] for event, data in frames if event == "thread.run.step.completed"]
    pieces = [data["delta"]["content"][0]["text"]["value"] for event, data in frames if event == "thread.message.delta"]
    if pieces:
        return says("", pieces=pieces, usage=(ended[-1]["prompt_tokens"], ended[-1]["completion_tokens"]))
    deltas = [data["delta"]["step_details"]["tool_calls"][0] for event, data in frames if event.endswith("step.delta")]
    arguments = "".join(delta["function"]["arguments"] for delta in deltas)
    # The recorded usage of this call is in the stream that submits its outputs.
    return calls((deltas[0]["function"]["name"], arguments), ids=[deltas[0]["id"]], usage=(260, 12))


def _newest_text(messages: Any) -> str:
    text: str = messages["data"][0]["content"][0]["text"]["value"]
    return text


async def _create_earlier_objects(client: Client, exchanges: Sequence[Exchange]) -> None:
    """Creates assistants like those of earlier tests in the recorded account, which lists show, and one more page."""
    made = {exchange.response["id"] for exchange in exchanges if _creates_assistant(exchange)}
    before: dict[str, Any] = {}
    for exchange in exchanges:
        if exchange.method == "GET" and exchange.path.partition("?")[0] == "/assistants":
            before |= {one["id"]: one for one in exchange.response["data"] if one["id"] not in made}
            await client.post("/assistants", {"model": "gpt-4o"})
            break
    for one in reversed(before.values()):
        settings = {key: one[key] for key in ("model", "name", "description", "instructions", "tools", "metadata")}
        await client.post("/assistants", settings)


def _creates_assistant(exchange: Exchange) -> bool:
    return (exchange.method, exchange.path) == ("POST", "/assistants")


async def _exchange(client: Client, mapping: Mapping, exchange: Exchange) -> Any:
    """Sends the recorded request. Repeats it until a run has the recorded status."""
    path, body = mapping.ours(exchange.path), mapping.request(exchange.request)
    if isinstance(exchange.response, list):
        return [(frame.event, frame.data) async for frame in client.stream(path, body)]
    status = exchange.response.get("status")
    async with asyncio.timeout(WAIT_S):
        while True:
            answer: Answer = await client.call(exchange.method, path, body)
            assert answer.status == 200, answer.body
            if exchange.method != "GET" or status is None or answer.body["status"] in FASTER.get(status, {status}):
                return answer.body
            await asyncio.sleep(0.005)


def _comparable(recorded: Any, ours: Any) -> tuple[Any, Any]:
    """Returns both answers in comparable form: with merged deltas, and without the further progress of our run."""
    if isinstance(recorded, list):
        return _frames(merge_deltas(recorded)), _frames(merge_deltas(ours))
    if recorded["object"] == "list":
        pairs = zip(recorded["data"], ours["data"], strict=False)
        ours = {**ours, "data": [_as_slow(one, our) for one, our in pairs] + ours["data"][len(recorded["data"]) :]}
        # The recorded vector stores of other assistants were created earlier.
        data = [_without_stores(one) if one["object"] == "assistant" else one for one in recorded["data"]]
        return {**recorded, "data": data}, ours
    return recorded, _as_slow(recorded, ours)


def _without_stores(assistant: Any) -> Any:
    """Returns the recorded assistant with an empty list in place of the ids of its vector stores."""
    resources = dict(assistant["tool_resources"])
    if "file_search" in resources:
        resources["file_search"] = {"vector_store_ids": []}
    return {**assistant, "tool_resources": resources}


def _as_slow(recorded: Any, ours: Any) -> Any:
    """Returns our run with the progress of the recorded run."""
    if recorded.get("status") in FASTER and ours["status"] != recorded["status"]:
        return {**ours, "status": recorded["status"], "started_at": recorded["started_at"]}
    return ours


def _frames(frames: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [{"event": event, "data": data} for event, data in frames]
