"""Objects and frames follow the document of their version for every history of a thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import RecordedEvent
from events.errors import DomainError
from events.object_changes import (
    client_message,
    imported_message,
    imported_run,
    imported_step,
    initial_run,
    initial_step,
    initial_thread,
    run_message,
    run_patch,
    step_patch,
)
from events.objects import Assistant, Message, Run, Step
from events.thread import events as e
from service.wire import v1, v2
from service.wire.api import Wire
from service.wire.sse.run_stream import RunStream
from tests.clock import IDS
from tests.events.thread.histories import World
from tests.events.thread.story import SETTINGS
from tests.wire.documents import find_problems
from tests.wire.sse.stream_rules import Watcher

WIRES: dict[str, Wire] = {"v1": v1.WIRE, "v2": v2.WIRE}
SCHEMAS = {
    "thread": "ThreadObject",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
    "thread.run.step.delta": "RunStepDeltaObject",
    "thread.message": "MessageObject",
    "thread.message.delta": "MessageDeltaObject",
}
# Keys that only objects of v2 have.
V2_ONLY = {"tool_resources", "attachments", "reasoning_effort", "parallel_tool_calls", "prompt_token_details"}
V2_ONLY |= {"completion_tokens_details", "strict", "ranking_options", "hybrid_search"}


def history(random: Random, length: int) -> list[RecordedEvent[Any]]:
    world = World(random)
    for _ in range(length):
        try:
            world.do(world.next_command())
        except DomainError:
            continue
    return [_affordable(entry) for entry in world.log]


def _affordable(entry: RecordedEvent[Any]) -> RecordedEvent[Any]:
    """Raises token budgets of a history to the minimum of requests."""
    if isinstance(entry.event, e.RunCreated) and entry.event.max_completion_tokens is not None:
        return replace(entry, event=entry.event.model_copy(update={"max_completion_tokens": 256}))
    return entry


def objects(log: list[RecordedEvent[Any]]) -> Iterator[Any]:
    """Yields every state that each message, run and step of the log had."""
    runs: dict[str, Run] = {}
    steps: dict[str, Step] = {}
    for entry in log:
        event = entry.event
        match event:
            case e.ThreadCreated():
                yield initial_thread(entry)
            case e.MessageAdded():
                yield client_message(entry)
            case e.MessageWritten():
                message = run_message(entry)
                yield replace(message, status="in_progress", incomplete_reason=None, ended_at=None, content=[])
                yield message
            case e.RunCreated():
                yield runs.setdefault(event.run_id, initial_run(entry))
            case e.StepCreated():
                yield steps.setdefault(event.step_id, initial_step(entry))
            case e.MessageImported():
                yield imported_message(entry)
            case e.RunImported():
                yield runs.setdefault(event.run_id, imported_run(entry))
            case e.StepImported():
                yield imported_step(entry)
            case _:
                pass
        if (run := run_patch(entry)) is not None:
            yield runs.setdefault(event.run_id, replace(runs.pop(event.run_id), **run))
        if (step := step_patch(event)) is not None:
            yield steps.setdefault(event.step_id, replace(steps.pop(event.step_id), **step))


def render(wire: Wire, found: Any, streamed: bool) -> dict[str, Any]:
    match found:
        case Message():
            return wire.render_message(found, streamed=streamed)
        case Run():
            return wire.render_run(found, streamed=streamed)
        case Step():
            return wire.render_step(found, streamed=streamed)
        case _:
            return wire.render_thread(found)


def keys(value: Any) -> Iterator[str]:
    """Yields all keys of a JSON value, except those that clients choose."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in ("metadata", "parameters"):
                yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


@pytest.mark.slow
@pytest.mark.parametrize("version", WIRES)
@settings(max_examples=20)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 40))
def test_every_form_of_every_object(version: str, random: Random, length: int) -> None:
    for found in objects(history(random, length)):
        for streamed in (True, False):
            value = render(WIRES[version], found, streamed)
            assert find_problems(version, SCHEMAS[value["object"]], value, rest=not streamed) == []
            assert version == "v2" or not V2_ONLY & set(keys(value))


@pytest.mark.parametrize("version", WIRES)
@settings(max_examples=20)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 40))
def test_every_frame_of_every_stream(version: str, random: Random, length: int) -> None:
    log = history(random, length)
    for entry in log:
        if not isinstance(entry.event, e.RunCreated):
            continue
        watcher = Watcher(RunStream(WIRES[version]))
        watcher.see(log[entry.version - 1 :])
        for event, data in watcher.frames:
            if event != "done":
                assert find_problems(version, SCHEMAS[data["object"]], data) == []
                assert version == "v2" or not V2_ONLY & set(keys(data))
                assert version == "v2" or data.get("status") != "incomplete" or data["object"] == "thread.message"


RUN = Run(
    id="run_1",
    thread_id="thread_1",
    created_at=1,
    **{**{name: getattr(SETTINGS, name) for name in SETTINGS.__slots__}, "tools": []},
    expires_at=601,
)
SEARCH = {
    "type": "file_search",
    "file_search": {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
STRICT = {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}


@pytest.mark.parametrize(
    ("changes", "v1_shows"),
    [
        ({"tools": [SEARCH]}, {"tools": [{"type": "retrieval"}]}),
        ({"tools": [STRICT]}, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
        ({"tools": [SEARCH], "tool_choice": {"type": "file_search"}}, {"tool_choice": {"type": "retrieval"}}),
        ({"tool_choice": "required"}, {"tool_choice": "auto"}),
        ({"response_format": SCHEMA}, {"response_format": {"type": "json_object"}}),
        ({"tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}}}, {"file_ids": ["file-1"]}),
        (
            {"status": "incomplete", "incomplete_reason": "max_completion_tokens", "completed_at": 9},
            {"status": "completed", "incomplete_details": {"reason": "max_completion_tokens"}},
        ),
    ],
)
def test_v1_shows_in_its_own_words_what_v2_asked_for(changes: dict[str, Any], v1_shows: dict[str, Any]) -> None:
    found = replace(RUN, **changes)
    value = v1.WIRE.render_run(found)
    assert {key: value[key] for key in v1_shows} == v1_shows
    assert find_problems("v1", "RunObject", value) == []
    kept = v2.WIRE.render_run(found)
    assert {key: kept[key] for key in changes if key in kept} == {key: changes[key] for key in changes if key in kept}
    assert find_problems("v2", "RunObject", kept) == []


def test_v1_shows_parts_in_its_own_words() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}},
        {"type": "refusal", "refusal": "No."},
    ]
    message = Message("msg_1", "thread_1", 1, "user", parts, [], {}, ended_at=1)
    assert v1.WIRE.render_message(message)["content"] == [
        {"type": "text", "text": {"value": "https://example.com/a.png", "annotations": []}},
        {"type": "image_file", "image_file": {"file_id": "file-1"}},
        {"type": "text", "text": {"value": "No.", "annotations": []}},
    ]
    assert find_problems("v1", "MessageObject", v1.WIRE.render_message(message)) == []
    assert v2.WIRE.render_message(message)["content"] == parts
    assert find_problems("v2", "MessageObject", v2.WIRE.render_message(message, streamed=True)) == []


def test_v1_asks_in_its_own_words_for_what_v2_shows() -> None:
    asked = v1.WIRE.parse_new_assistant({"model": "m", "tools": [{"type": "retrieval"}], "response_format": "none"})
    shown_by_v2 = v2.WIRE.render_assistant(Assistant(id="asst_1", created_at=1, **asked))
    assert (shown_by_v2["tools"], shown_by_v2["response_format"]) == ([SEARCH], "auto")
    run = v1.WIRE.parse_new_run({"assistant_id": "a", "tools": [{"type": "retrieval"}]}, IDS)
    assert run.overrides == {"tools": [SEARCH]}


@pytest.mark.parametrize("version", WIRES)
def test_lists_and_deletions(version: str) -> None:
    wire = WIRES[version]
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert wire.render_list([], False) == empty
    assert find_problems(version, "ListMessagesResponse", empty) == []
    two = wire.render_list([{"id": "a"}, {"id": "b"}], True)
    assert (two["first_id"], two["last_id"], two["has_more"]) == ("a", "b", True)
    for kind, schema in (("assistant", "DeleteAssistantResponse"), ("thread", "DeleteThreadResponse")):
        assert find_problems(version, schema, wire.render_deleted(kind, "x_1")) == []  # type: ignore[arg-type]
