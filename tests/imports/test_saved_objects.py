"""Saved objects become objects that are shown as they were saved."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from events.objects import Message, Run, Step
from service.imports.saved_objects import (
    SavedAssistant,
    SavedMessage,
    SavedRun,
    SavedStep,
    SavedStore,
    SavedStoreFile,
)
from service.imports.saved_tools import to_resources
from service.wire import v1, v2
from service.wire.query import SEARCH_RESULT_CONTENT
from tests.wire.replay import RECORDINGS, load
from tests.wire.test_rendering import history, objects

INCLUDE = frozenset({SEARCH_RESULT_CONTENT})
_ENDED = ("cancelled", "failed", "completed", "incomplete", "expired")
_GOING = ("queued", "in_progress", "cancelling", "requires_action")


def show(found: Any) -> dict[str, Any]:
    match found:
        case Message():
            return v2.WIRE.render_message(found, streamed=True)
        case Run():
            return v2.WIRE.render_run(found)
        case _:
            return v2.WIRE.render_step(found, include=INCLUDE)


def read(saved: dict[str, Any]) -> Message | Run | Step:
    match saved["object"]:
        case "thread.message":
            return SavedMessage.model_validate(saved).to_message()
        case "thread.run":
            return SavedRun.model_validate(saved).to_run()
        case _:
            return SavedStep.model_validate(saved).to_step()


@settings(max_examples=30)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 40))
def test_law_what_was_shown_is_shown_again(random: Random, length: int) -> None:
    for found in objects(history(random, length)):
        if isinstance(found, Message | Run | Step) and found.status in _ENDED:
            saved = orjson.loads(orjson.dumps(show(found)))
            assert show(read(saved)) == saved


def recorded(kind: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a kind that the original showed over REST."""
    for path in sorted(RECORDINGS.glob("*.json")):
        for exchange in load(path.stem):
            answer = exchange.response
            if isinstance(answer, dict):
                for one in answer.get("data", [answer]) if answer.get("object") == "list" else [answer]:
                    if one.get("object") == kind:
                        yield one


@pytest.mark.parametrize("kind", ["thread.message", "thread.run", "thread.run.step"])
def test_objects_of_the_original_are_shown_as_it_did(kind: str) -> None:
    found = [one for one in recorded(kind) if one.get("status") not in _GOING]
    assert found
    for saved in found:
        shown = show(read(saved))
        assert {name: shown.get(name) for name in saved if name in shown} == {
            name: value for name, value in saved.items() if name in shown
        }


def test_assistants_of_the_original_are_shown_as_it_did() -> None:
    found = list(recorded("assistant"))
    assert found
    for saved in found:
        shown = v2.WIRE.render_assistant(SavedAssistant.model_validate(saved).to_assistant())
        assert {name: shown[name] for name in saved if name in shown} == saved


def test_objects_of_v1() -> None:
    message = SavedMessage.model_validate(
        {
            "id": "msg_1",
            "object": "thread.message",
            "created_at": 9,
            "thread_id": "thread_1",
            "role": "user",
            "content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}],
            "file_ids": ["file-1"],
            "assistant_id": None,
            "run_id": None,
            "metadata": {"a": 1, "b": True},
        }
    ).to_message()
    assert v1.WIRE.render_message(message)["file_ids"] == ["file-1"]
    assert message.metadata == {"a": "1", "b": "True"}
    assert message.ended_at == 9
    run = SavedRun.model_validate(
        {
            "id": "run_1",
            "created_at": 9,
            "thread_id": "t",
            "assistant_id": "a",
            "status": "completed",
            "tools": [{"type": "retrieval"}, {"type": "code_interpreter"}],
            "file_ids": ["file-1"],
            "model": "gpt-4",
        }
    ).to_run()
    shown = v1.WIRE.render_run(run)
    assert shown["tools"] == [{"type": "retrieval"}, {"type": "code_interpreter"}]
    assert shown["file_ids"] == ["file-1"]
    step = SavedStep.model_validate(
        {
            "id": "step_1",
            "created_at": 9,
            "thread_id": "t",
            "run_id": "run_1",
            "assistant_id": "a",
            "type": "tool_calls",
            "completed_at": 10,
            "status": "completed",
            "step_details": {
                "type": "tool_calls",
                "tool_calls": [{"id": "call_1", "type": "retrieval", "retrieval": {}}],
            },
        }
    ).to_step()
    assert v1.WIRE.render_step(step)["step_details"]["tool_calls"] == [
        {"id": "call_1", "type": "retrieval", "retrieval": {}}
    ]


def test_resources_and_stores_within_the_bounds_of_the_api() -> None:
    nothing = {"code_interpreter": None, "file_search": {"vector_store_ids": None}, "other": {}}
    assert to_resources(nothing, None) == {"file_search": {"vector_store_ids": []}}
    assert [SavedStore(id="v", created_at=1, expires_after={"days": days}).days for days in (7, 0, 10**9, -5, "x")] == [
        7,
        *[None] * 4,
    ]

    def chunking(size: int, overlap: int) -> tuple[int, int]:
        static = {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}
        strategy = {"type": "static", "static": static}
        found = SavedStoreFile(id="f", created_at=1, vector_store_id="v", chunking_strategy=strategy).chunking
        return found.max_chunk_size_tokens, found.chunk_overlap_tokens

    assert [chunking(*sizes) for sizes in ((200, 50), (0, 0), (10**12, 0), (200, -1))] == [(200, 50), *[(800, 400)] * 3]


def test_what_had_not_ended_has_expired() -> None:
    run = SavedRun(id="r", created_at=9, thread_id="t", assistant_id="a", status="requires_action").to_run()
    assert (run.status, run.expires_at, run.required_calls) == ("expired", 609, None)
    details = {"type": "message_creation", "message_creation": {"message_id": "m"}}
    step = SavedStep(
        id="s", created_at=9, thread_id="t", run_id="r", assistant_id="a", status="in_progress", step_details=details
    ).to_step()
    assert (step.status, step.ended_at) == ("expired", 609)
    message = SavedMessage(id="m", created_at=9, thread_id="t", role="assistant", status="in_progress").to_message()
    assert (message.status, message.incomplete_reason) == ("incomplete", "run_expired")


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "video"}],
        [{"type": "text", "text": 1}],
        [{"type": "text", "text": {"value": "a", "annotations": [{"type": "other"}]}}],
        [
            {
                "type": "text",
                "text": {
                    "value": "a",
                    "annotations": [
                        {"type": "file_citation", "text": "a", "start_index": 0, "end_index": 1, "file_citation": {}}
                    ],
                },
            }
        ],
        [1],
    ],
)
def test_content_without_a_known_form_is_refused(content: Any) -> None:
    saved = {"id": "m", "created_at": 9, "thread_id": "t", "role": "user", "content": content}
    with pytest.raises((ValidationError, ValueError)):
        SavedMessage.model_validate(saved).to_message()
