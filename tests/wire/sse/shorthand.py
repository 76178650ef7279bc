"""Shorthands for the events and deltas that streams are fed, and for the names of their frames."""

from __future__ import annotations

from typing import Any

from service.deltas import MessageTextDelta, StepCallDelta
from service.wire import v2
from service.wire.api import Wire
from service.wire.sse.run_stream import RunStream
from tests.events.thread.story import (
    Story,
)
from tests.wire.sse.stream_rules import Watcher

BEGIN = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*STEP, "thread.message.created", "thread.message.in_progress"]
DELTA, CALL = "thread.message.delta", "thread.run.step.delta"
COMPLETED = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed", "done"]


def watch(story: Story, wire: Wire = v2.WIRE) -> Watcher:
    """Returns a watcher that has seen all events of the story except the creation of the thread."""
    watcher = Watcher(RunStream(wire))
    watcher.see(story.log[1:])
    return watcher


def text(words: str, *, refusal: bool = False, run_id: str = "run_1", suffix: str = "1") -> MessageTextDelta:
    return MessageTextDelta(run_id, f"msg_{suffix}", f"step_m{suffix}", 1767225600, words, refusal)


def call(index: int, arguments: str, id: str | None = None, suffix: str = "1") -> StepCallDelta:
    return StepCallDelta("run_1", f"step_t{suffix}", 1767225600, index, id, id and "weather", arguments)


def apply(watcher: Watcher, story: Story, command: Any, after: float = 0.0) -> list[str]:
    """Applies a command to the story. Returns the names of the frames that the watcher gets."""
    known = len(story.log)
    story.do(command, after)
    return watcher.see(story.log[known:])


def message_texts(watcher: Watcher) -> list[str]:
    """Returns the text of each message delta."""
    parts = [data["delta"]["content"][0] for event, data in watcher.frames if event == DELTA]
    return [part["text"]["value"] if part["type"] == "text" else part["refusal"] for part in parts]


def reply_with(words: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": words, "annotations": []}}
