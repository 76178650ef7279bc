"""A run as server-sent events: the state machine that turns events and live pieces into frames.

What a watcher was already shown is remembered, and the events that follow add only what is new: one that saw all pieces
gets no text twice, one that saw nothing gets the whole text as one delta, and one whose run was taken over by another
process in mid-message gets only the completed message. Order of frames: BEHAVIOUR.md, "SSE".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from events import thread_events as e
from events.event import Recorded
from events.fold import opened_run, opened_step, opened_thread, run_patch, step_patch, written_message
from events.objects import Message, Run, Step
from service.live import LiveCall, LiveText
from service.wire.base import Json, Wire

DONE = b"event: done\ndata: [DONE]\n\n"
_LAST = (
    e.RunRequiresAction,
    e.RunCancelled,
    e.RunCompleted,
    e.RunIncomplete,
    e.RunFailed,
    e.RunExpired,
)


class RunStream:
    """The stream of one run. It begins with the run's creation, or with `run` and its open `steps` as they were."""

    def __init__(self, wire: Wire, *, run: Run | None = None, steps: Sequence[Step] = ()) -> None:
        self.finished = False
        self._wire = wire
        self._run = run
        self._steps = {step.id: step for step in steps}
        self._messages: dict[str, Message] = {}
        self._parts: dict[str, list[str]] = {}
        self._told_calls: set[str] = set()
        self._delta_start: dict[tuple[str, bool], bytes] = {}
        self._muted: set[str] = set()
        self._place = (0, 1, 0)

    def feed(self, item: Recorded[e.ThreadEvent] | LiveText | LiveCall) -> list[bytes]:
        """The frames that `item` brings; none for another run's."""
        if self.finished:
            return []
        if isinstance(item, Recorded):
            self._place = (item.version, self._place[1], 0)
            return self._recorded(item)
        if self._run is None or item.run_id != self._run.id or item.step_id in self._muted:
            return []
        return self._text(item) if isinstance(item, LiveText) else self._call(item)

    def error(self, message: str, kind: str, code: str | None) -> bytes:
        """An error in mid-stream: the last frame."""
        self.finished = True
        error = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        return b"event: error\ndata: " + orjson.dumps(error) + b"\n\n"

    def _recorded(self, item: Recorded[Any]) -> list[bytes]:
        event = item.event
        if isinstance(event, e.ThreadCreated):
            return [self._frame("thread.created", self._wire.thread(opened_thread(item), streamed=True))]
        if isinstance(event, e.RunCreated) and self._run is None:
            self._run = opened_run(item)
            return [self._run_frame("created"), self._run_frame("queued")]
        if self._run is None or getattr(event, "run_id", None) != self._run.id:
            return []
        match event:
            case e.StepCreated():
                return self._step_created(item)
            case e.MessageWritten():
                return self._message_written(item)
            case e.ModelCallStarted(attempt=attempt):
                # A second attempt says everything anew: who saw a part of the first is told the whole at the end.
                self._muted |= self._steps.keys() & {event.message_step_id, event.tool_step_id}
                self._place = (self._place[0], attempt, 0)
                return []
            case e.StepEnded() | e.ToolOutputsSubmitted():
                return self._step_changed(event)
            case _:
                return self._run_changed(item)

    def _run_changed(self, item: Recorded[Any]) -> list[bytes]:
        patch = run_patch(item)
        assert self._run is not None
        if patch is None or isinstance(item.event, e.RunModified):
            return []
        self._run = replace(self._run, **patch)
        shown = self._wire.run(self._run, streamed=True)
        frames = [self._frame(f"thread.run.{shown['status']}", shown)]
        if isinstance(item.event, _LAST):
            self.finished = True
            frames.append(DONE)
        return frames

    def _step_created(self, item: Recorded[e.StepCreated]) -> list[bytes]:
        event = item.event
        known = self._steps.get(event.step_id)
        frames = [] if known is not None else self._open_step(replace(opened_step(item), tool_calls=[]))
        self._steps[event.step_id] = opened_step(item)
        for index, call in enumerate(event.tool_calls):
            if call["id"] not in self._told_calls and event.step_id not in self._muted:
                frames += self._whole_call(event.step_id, index, call)
        return frames

    def _whole_call(self, step_id: str, index: int, call: Json) -> list[bytes]:
        function = call["function"]
        self._told_calls.add(call["id"])
        return [
            self._step_delta(step_id, _first_piece(index, call["id"], function["name"])),
            self._step_delta(step_id, _next_piece(index, function["arguments"])),
        ]

    def _step_changed(self, event: e.StepEnded | e.ToolOutputsSubmitted) -> list[bytes]:
        step = self._steps.get(event.step_id)
        if step is None:
            return []
        step = self._steps[event.step_id] = replace(step, **(step_patch(event) or {}))
        if isinstance(event, e.ToolOutputsSubmitted):
            return []
        return [self._frame(f"thread.run.step.{step.status}", self._wire.step(step, streamed=True))]

    def _message_written(self, item: Recorded[e.MessageWritten]) -> list[bytes]:
        message = written_message(item)
        frames: list[bytes] = []
        if message.id not in self._messages:
            frames += self._open_message(replace(message, content=[], status="in_progress", ended_at=None))
            for index, part in enumerate(message.content):
                delta = {"index": index, **part}
                if _has_text(part):
                    frames.append(self._message_delta(message.id, delta))
        self._messages[message.id] = message
        status = "completed" if message.status == "completed" else "incomplete"
        return [*frames, self._frame(f"thread.message.{status}", self._wire.message(message, streamed=True))]

    def _text(self, item: LiveText) -> list[bytes]:
        frames: list[bytes] = []
        if item.message_id not in self._messages:
            frames += self._open_live(item)
        key = (item.message_id, item.refusal)
        start = self._delta_start.get(key)
        if start is not None:
            frames.append(self._fast_delta(start, item))
            return frames
        kind = "refusal" if item.refusal else "text"
        parts = self._parts.setdefault(item.message_id, [])
        parts.append(kind)
        index = len(parts) - 1
        first: Json = {"value": item.text, "annotations": []}
        part = {"index": index, "type": kind, kind: item.text if item.refusal else first}
        self._delta_start[key] = _delta_start(item.message_id, index, refusal=item.refusal)
        return [*frames, self._message_delta(item.message_id, part)]

    def _fast_delta(self, start: bytes, item: LiveText) -> bytes:
        """The hot path: only the text is encoded, the rest of the frame is ready."""
        end = b"}]}}\n\n" if item.refusal else b"}}]}}\n\n"
        return self._id() + start + orjson.dumps(item.text) + end

    def _open_live(self, item: LiveText) -> list[bytes]:
        """Shows the step and the message that the first piece belongs to."""
        assert self._run is not None
        step = self._live_step(item.step_id, item.created_at, message_id=item.message_id)
        message = Message(
            id=item.message_id,
            thread_id=self._run.thread_id,
            created_at=item.created_at,
            role="assistant",
            content=[],
            attachments=[],
            metadata={},
            assistant_id=self._run.assistant_id,
            run_id=self._run.id,
            status="in_progress",
        )
        return [*self._open_step(step), *self._open_message(message)]

    def _call(self, item: LiveCall) -> list[bytes]:
        frames: list[bytes] = []
        if item.step_id not in self._steps:
            frames += self._open_step(self._live_step(item.step_id, item.created_at, message_id=None))
        if item.id is not None:
            self._told_calls.add(item.id)
            frames.append(self._step_delta(item.step_id, _first_piece(item.index, item.id, item.name or "")))
        if item.arguments:
            frames.append(self._step_delta(item.step_id, _next_piece(item.index, item.arguments)))
        return frames

    def _live_step(self, step_id: str, created_at: int, *, message_id: str | None) -> Step:
        assert self._run is not None
        return Step(
            id=step_id,
            thread_id=self._run.thread_id,
            run_id=self._run.id,
            assistant_id=self._run.assistant_id,
            created_at=created_at,
            expires_at=self._run.expires_at or created_at,
            type="tool_calls" if message_id is None else "message_creation",
            message_id=message_id,
            tool_calls=[],
        )

    def _open_step(self, step: Step) -> list[bytes]:
        self._steps[step.id] = step
        shown = self._wire.step(step, streamed=True)
        return [self._frame("thread.run.step.created", shown), self._frame("thread.run.step.in_progress", shown)]

    def _open_message(self, message: Message) -> list[bytes]:
        self._messages[message.id] = message
        shown = self._wire.message(message, streamed=True)
        return [self._frame("thread.message.created", shown), self._frame("thread.message.in_progress", shown)]

    def _run_frame(self, event: str) -> bytes:
        assert self._run is not None
        return self._frame(f"thread.run.{event}", self._wire.run(self._run, streamed=True))

    def _message_delta(self, message_id: str, part: Json) -> bytes:
        content = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}
        return self._frame("thread.message.delta", content)

    def _step_delta(self, step_id: str, call: Json) -> bytes:
        delta = {"step_details": {"type": "tool_calls", "tool_calls": [call]}}
        return self._frame("thread.run.step.delta", {"id": step_id, "object": "thread.run.step.delta", "delta": delta})

    def _frame(self, event: str, data: Json) -> bytes:
        return b"%bevent: %b\ndata: %b\n\n" % (self._id(), event.encode(), orjson.dumps(data))

    def _id(self) -> bytes:
        """The frame's `id:` line, version.attempt.sequence: where a client that reconnects left off."""
        version, attempt, sequence = self._place
        self._place = (version, attempt, sequence + 1)
        return b"id: %d.%d.%d\n" % (version, attempt, sequence)


def _first_piece(index: int, id: str, name: str) -> Json:
    function = {"name": name, "arguments": "", "output": None}
    return {"index": index, "id": id, "type": "function", "function": function}


def _next_piece(index: int, arguments: str) -> Json:
    return {"index": index, "type": "function", "function": {"arguments": arguments}}


def _has_text(part: Json) -> bool:
    return bool(part["text"]["value"] if part["type"] == "text" else part.get("refusal"))


def _delta_start(message_id: str, index: int, *, refusal: bool) -> bytes:
    """A delta frame up to its text."""
    kind = '"refusal","refusal":' if refusal else '"text","text":{"value":'
    return (
        f'event: thread.message.delta\ndata: {{"id":"{message_id}","object":"thread.message.delta",'
        f'"delta":{{"content":[{{"index":{index},"type":{kind}'
    ).encode()
