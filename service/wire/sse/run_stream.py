"""A run as server-sent events: the state machine that turns events and live pieces into frames.

What a watcher was already shown is remembered, and the events that follow add only what is new: one that saw all pieces
gets no text twice, one that saw nothing gets the whole text as one delta, and one whose run was taken over by another
process in mid-message gets only the completed message. Order of frames: docs/behaviour.md, "Order of events".

Delta pieces promise objects (`_promised`) that events then confirm. A promise that events never keep is taken back
before the run goes on or ends, since clients expect every open message and step to end. Pieces that arrive behind their
event are stale: a watcher that reads the log to catch up sees events before pieces that are still in its queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from events.envelope import RecordedEvent
from events.object_changes import (
    initial_run,
    initial_step,
    initial_thread,
    merge_step_fields,
    run_message,
    run_patch,
    step_patch,
)
from events.objects import Json, Message, Run, Step
from events.thread import events as e
from service.deltas import Delta, MessageTextDelta, StepCallDelta, StepOutputDelta
from service.wire.api import Wire
from service.wire.sse import frames
from service.wire.sse.message_parts import StreamedContent
from service.wire.sse.placeholders import placeholder_message, placeholder_step
from service.wire.sse.tool_calls import StreamedCalls

_PAUSES_OR_ENDS = (e.RunRequiresAction, e.RunCancelled, e.RunCompleted, e.RunIncomplete, e.RunFailed, e.RunExpired)
_RETRIED = {"code": "server_error", "message": "The model call broke off and was made anew."}
_EarlyEnd = Literal["cancelled", "expired", "failed"]


class RunStream:
    """The stream of one run. It begins with the run's creation, or with `run` and its open `steps` as they were.

    `include` is what the request asked for besides. `finished` once the run has ended or requires action, and the last
    frame was given.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        run: Run | None = None,
        steps: Sequence[Step] = (),
        include: frozenset[str] = frozenset(),
    ) -> None:
        self.is_finished = False
        self._wire = wire
        self._run = run
        self._include = include
        # Objects that were shown, by id.
        self._steps = {step.id: step for step in steps}
        self._messages: dict[str, Message] = {}
        self._content = StreamedContent(wire)
        self._calls = StreamedCalls(wire)
        # Steps (each with its message) that live pieces opened and no event has confirmed.
        self._placeholders: dict[str, str | None] = {}
        # Ids of what a later attempt says anew, of steps that take no live pieces any more, and of what is not shown.
        self._repeated_ids: set[str] = set()
        self._closed_steps: set[str] = set()
        self._hidden_ids: set[str] = set()
        # Version, attempt and sequence of the next frame.
        self._next_id = (0, 1, 0)

    def feed(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """The frames that `item` brings; none for another run's."""
        if self.is_finished:
            return []
        if isinstance(item, RecordedEvent):
            self._next_id = (item.version, self._next_id[1], 0)
            return [self._with_id(frame) for frame in self._event_frames(item)]
        if self._run is None or item.run_id != self._run.id:
            return []
        if isinstance(item, StepOutputDelta):
            hidden = item.step_id in self._hidden_ids or item.step_id in self._repeated_ids
            return [] if hidden else [self._with_id(frame) for frame in self._calls.output_frames(item)]
        if item.step_id in self._closed_steps:
            return []
        told = (
            self._live_call_frames(self._run, item)
            if isinstance(item, StepCallDelta)
            else self._live_text_frames(self._run, item)
        )
        return [self._with_id(frame) for frame in told]

    def error_frame(self, message: str, kind: str, code: str | None) -> bytes:
        """An error in mid-stream: the last frame. `kind` is the error's type, for example server_error."""
        self.is_finished = True
        return frames.sse_frame("error", {"error": {"message": message, "type": kind, "param": None, "code": code}})

    def _with_id(self, frame: bytes) -> bytes:
        """The frame behind its `id:` line, version.attempt.sequence: where a client that reconnects left off."""
        version, attempt, sequence = self._next_id
        self._next_id = (version, attempt, sequence + 1)
        # The final frame says nothing of the thread.
        return frame if frame is frames.DONE_FRAME else b"id: %d.%d.%d\n%b" % (version, attempt, sequence, frame)

    # Events.

    def _event_frames(self, item: RecordedEvent[Any]) -> list[bytes]:
        event = item.event
        if isinstance(event, e.ThreadCreated):
            return [frames.sse_frame("thread.created", self._wire.render_thread(initial_thread(item), resources=True))]
        if isinstance(event, e.RunCreated) and self._run is None:
            self._run = initial_run(item)
            shown = self._wire.render_run(self._run, streamed=True)
            return [frames.sse_frame("thread.run.created", shown), frames.sse_frame("thread.run.queued", shown)]
        if self._run is None or getattr(event, "run_id", None) != self._run.id:
            return []
        match event:
            case e.StepCreated():
                return self._step_created(item)
            case e.MessageWritten():
                return self._message_written(item)
            case e.ModelCallStarted():
                self._next_id = (self._next_id[0], event.attempt, 0)
                self._call_started(event)
                return []
            case e.ToolCallStarted(call_id=call_id, attempt=attempt):
                self._calls.start_attempt(call_id, attempt)
                return []
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped():
                return self._step_changed(event)
            case _:
                return self._run_changed(item)

    def _run_changed(self, item: RecordedEvent[Any]) -> list[bytes]:
        patch = run_patch(item)
        if patch is None or self._run is None:
            return []
        self._run = replace(self._run, **patch)
        if isinstance(item.event, e.RunModified | e.RunAdmitted):
            return []
        shown = self._wire.render_run(self._run, streamed=True)
        run_frame = frames.sse_frame(f"thread.run.{shown['status']}", shown)
        if not isinstance(item.event, _PAUSES_OR_ENDS):
            return [run_frame]
        self.is_finished = True
        status = self._run.status
        how: _EarlyEnd = status if status == "cancelled" or status == "expired" else "failed"
        error = self._run.last_error if status == "failed" else _RETRIED
        return [*self._end_placeholders(how, item.seconds, error), run_frame, frames.DONE_FRAME]

    def _call_started(self, event: e.ModelCallStarted) -> None:
        """A second attempt says everything anew: who saw a part of the first is told the whole at the end."""
        retold = self._placeholders.keys() & {event.message_step_id, event.tool_step_id}
        self._closed_steps |= retold
        self._repeated_ids |= retold
        if event.message_step_id in retold:
            self._repeated_ids.add(event.message_id)

    def _step_created(self, item: RecordedEvent[e.StepCreated]) -> list[bytes]:
        event = item.event
        if event.step_id in self._hidden_ids:
            return []
        shown = event.step_id in self._steps
        self._placeholders.pop(event.step_id, None)
        self._closed_steps.add(event.step_id)
        taken_back: list[bytes] = []
        if self._placeholders.keys() <= self._repeated_ids:
            taken_back = self._end_placeholders("failed", item.seconds, _RETRIED)
        elif not shown:
            # Text behind tool calls in one reply: the tools' step is open, and npm's client throws at a second one. The
            # message can be retrieved; the stream goes without it.
            self._hidden_ids |= {event.step_id, event.message_id or ""}
            return []
        opening = [] if shown else self._open_step(replace(initial_step(item), tool_calls=[]))
        self._steps[event.step_id] = initial_step(item)
        if event.step_id in self._repeated_ids:
            return [*taken_back, *opening]
        calls = [
            frame
            for index, call in enumerate(event.tool_calls)
            for frame in self._calls.remaining_frames(event.step_id, index, call)
        ]
        return [*taken_back, *opening, *calls]

    def _step_changed(
        self, event: e.StepEnded | e.ToolOutputsSubmitted | e.ToolCallFinished | e.ToolCallStopped
    ) -> list[bytes]:
        step = self._steps.get(event.step_id)
        if step is None or event.step_id in self._hidden_ids:
            return []
        patch = merge_step_fields({"results": step.results}, step_patch(event) or {})
        step = self._steps[event.step_id] = replace(step, **patch)
        match event:
            case e.StepEnded():
                return [self._step_ended(step)]
            case e.ToolCallFinished() | e.ToolCallStopped() if event.step_id not in self._repeated_ids:
                return self._calls.remaining_output_frames(event.call_id, event.shown.get("outputs", ()))
            case _:
                return []

    def _step_ended(self, step: Step) -> bytes:
        shown = self._wire.render_step(step, streamed=True, include=self._include)
        return frames.sse_frame(f"thread.run.step.{step.status}", shown)

    def _message_written(self, item: RecordedEvent[e.MessageWritten]) -> list[bytes]:
        message = run_message(item)
        if message.id in self._hidden_ids:
            return []
        told: list[bytes] = []
        if message.id not in self._messages:
            told += self._open_message(replace(message, content=[], status="in_progress", ended_at=None))
        if message.id not in self._repeated_ids:
            told += self._content.remaining_frames(message)
        self._messages[message.id] = message
        return [*told, self._message_ended(message)]

    def _message_ended(self, message: Message) -> bytes:
        status = "completed" if message.status == "completed" else "incomplete"
        return frames.sse_frame(f"thread.message.{status}", self._wire.render_message(message, streamed=True))

    def _end_placeholders(self, how: _EarlyEnd, at: int, error: Json | None) -> list[bytes]:
        """Ends what live pieces promised and events did not bring: messages as far as they were shown, then steps."""
        told: list[bytes] = []
        for step_id, message_id in self._placeholders.items():
            self._closed_steps.add(step_id)
            self._hidden_ids.add(step_id)
            if message_id is not None:
                self._hidden_ids.add(message_id)
                message = replace(
                    self._messages[message_id],
                    content=self._content.content_so_far(message_id),
                    status="incomplete",
                    incomplete_reason=f"run_{how}",
                    ended_at=at,
                )
                told.append(self._message_ended(message))
            last_error = error if how == "failed" else None
            step = replace(self._steps[step_id], status=how, ended_at=at, last_error=last_error)
            told.append(self._step_ended(step))
        self._placeholders.clear()
        return told

    # Delta pieces.

    def _live_text_frames(self, run: Run, item: MessageTextDelta) -> list[bytes]:
        """A piece of a message; before its first piece the message itself."""
        told = [] if item.message_id in self._messages else self._open_placeholders(run, item)
        return told + self._content.live_frames(item)

    def _live_call_frames(self, run: Run, item: StepCallDelta) -> list[bytes]:
        if not self._calls.continues(item):
            # Its beginning was missed, or another attempt begins it again: events tell it, as far as it can be told.
            self._closed_steps.add(item.step_id)
            return []
        told = [] if item.step_id in self._steps else self._open_placeholders(run, item)
        return told + self._calls.live_frames(item)

    def _open_placeholders(self, run: Run, item: MessageTextDelta | StepCallDelta) -> list[bytes]:
        """Opens the step (and message) that a live piece belongs to; what an earlier attempt left open ends first."""
        told = self._end_placeholders("failed", item.created_at, _RETRIED)
        step = placeholder_step(run, item)
        self._placeholders[step.id] = step.message_id
        told += self._open_step(step)
        return told + self._open_message(placeholder_message(run, item)) if isinstance(item, MessageTextDelta) else told

    def _open_step(self, step: Step) -> list[bytes]:
        self._steps[step.id] = step
        shown = self._wire.render_step(step, streamed=True)
        return [
            frames.sse_frame("thread.run.step.created", shown),
            frames.sse_frame("thread.run.step.in_progress", shown),
        ]

    def _open_message(self, message: Message) -> list[bytes]:
        self._messages[message.id] = message
        shown = self._wire.render_message(message, streamed=True)
        return [
            frames.sse_frame("thread.message.created", shown),
            frames.sse_frame("thread.message.in_progress", shown),
        ]
