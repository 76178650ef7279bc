"""A run as server-sent events: the state machine that turns events and live pieces into frames.

What a watcher was already shown is remembered, and the events that follow add only what is new: one that saw all pieces
gets no text twice, one that saw nothing gets the whole text as one delta, and one whose run was taken over by another
process in mid-message gets only the completed message. Order of frames: docs/behaviour.md, "Order of events".

Deltas promise objects (`_promised`) that events then confirm. A promise that events never keep is taken back
before the run goes on or ends, since clients expect every open message and step to end. Pieces that arrive behind their
event are stale: a watcher that reads the log to catch up sees events before pieces that are still in its queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from events.envelope import Recorded
from events.object_changes import (
    opened_run,
    opened_step,
    opened_thread,
    patched,
    run_patch,
    step_patch,
    written_message,
)
from events.objects import Message, Run, Step
from events.thread import events as e
from service.deltas import Delta, MessageTextDelta, StepCallDelta, StepOutputDelta
from service.wire.api import Json, Wire
from service.wire.sse import frames
from service.wire.sse.message_parts import Parts
from service.wire.sse.placeholders import promised_message, promised_step
from service.wire.sse.tool_calls import Calls

_PAUSES_OR_ENDS = (e.RunRequiresAction, e.RunCancelled, e.RunCompleted, e.RunIncomplete, e.RunFailed, e.RunExpired)
_MADE_ANEW = {"code": "server_error", "message": "The model call broke off and was made anew."}
_Early = Literal["cancelled", "expired", "failed"]


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
        self.finished = False
        self._wire = wire
        self._run = run
        self._include = include
        # Objects that were shown, by id.
        self._steps = {step.id: step for step in steps}
        self._messages: dict[str, Message] = {}
        self._parts = Parts(wire)
        self._calls = Calls(wire)
        # Steps (each with its message) that live pieces opened and no event has confirmed.
        self._promised: dict[str, str | None] = {}
        # Ids of what a later attempt says anew, of steps that take no live pieces any more, and of what is not shown.
        self._retold: set[str] = set()
        self._deaf: set[str] = set()
        self._hidden: set[str] = set()
        # Version, attempt and sequence of the next frame.
        self._place = (0, 1, 0)

    def feed(self, item: Recorded[e.ThreadEvent] | Delta) -> list[bytes]:
        """The frames that `item` brings; none for another run's."""
        if self.finished:
            return []
        if isinstance(item, Recorded):
            self._place = (item.version, self._place[1], 0)
            return [self._marked(frame) for frame in self._recorded(item)]
        if self._run is None or item.run_id != self._run.id:
            return []
        if isinstance(item, StepOutputDelta):
            hidden = item.step_id in self._hidden or item.step_id in self._retold
            return [] if hidden else [self._marked(frame) for frame in self._calls.output(item)]
        if item.step_id in self._deaf:
            return []
        told = self._call(self._run, item) if isinstance(item, StepCallDelta) else self._text(self._run, item)
        return [self._marked(frame) for frame in told]

    def error(self, message: str, kind: str, code: str | None) -> bytes:
        """An error in mid-stream: the last frame. `kind` is the error's type, for example server_error."""
        self.finished = True
        return frames.frame("error", {"error": {"message": message, "type": kind, "param": None, "code": code}})

    def _marked(self, frame: bytes) -> bytes:
        """The frame behind its `id:` line, version.attempt.sequence: where a client that reconnects left off."""
        version, attempt, sequence = self._place
        self._place = (version, attempt, sequence + 1)
        # The final frame says nothing of the thread.
        return frame if frame is frames.DONE else b"id: %d.%d.%d\n%b" % (version, attempt, sequence, frame)

    # Events.

    def _recorded(self, item: Recorded[Any]) -> list[bytes]:
        event = item.event
        if isinstance(event, e.ThreadCreated):
            return [frames.frame("thread.created", self._wire.thread(opened_thread(item), resources=True))]
        if isinstance(event, e.RunCreated) and self._run is None:
            self._run = opened_run(item)
            shown = self._wire.run(self._run, streamed=True)
            return [frames.frame("thread.run.created", shown), frames.frame("thread.run.queued", shown)]
        if self._run is None or getattr(event, "run_id", None) != self._run.id:
            return []
        match event:
            case e.StepCreated():
                return self._step_created(item)
            case e.MessageWritten():
                return self._message_written(item)
            case e.ModelCallStarted():
                self._place = (self._place[0], event.attempt, 0)
                self._call_started(event)
                return []
            case e.ToolCallStarted(call_id=call_id, attempt=attempt):
                self._calls.started(call_id, attempt)
                return []
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped():
                return self._step_changed(event)
            case _:
                return self._run_changed(item)

    def _run_changed(self, item: Recorded[Any]) -> list[bytes]:
        patch = run_patch(item)
        if patch is None or self._run is None:
            return []
        self._run = replace(self._run, **patch)
        if isinstance(item.event, e.RunModified | e.RunAdmitted):
            return []
        shown = self._wire.run(self._run, streamed=True)
        run_frame = frames.frame(f"thread.run.{shown['status']}", shown)
        if not isinstance(item.event, _PAUSES_OR_ENDS):
            return [run_frame]
        self.finished = True
        status = self._run.status
        how: _Early = status if status == "cancelled" or status == "expired" else "failed"
        error = self._run.last_error if status == "failed" else _MADE_ANEW
        return [*self._take_back(how, item.seconds, error), run_frame, frames.DONE]

    def _call_started(self, event: e.ModelCallStarted) -> None:
        """A second attempt says everything anew: who saw a part of the first is told the whole at the end."""
        retold = self._promised.keys() & {event.message_step_id, event.tool_step_id}
        self._deaf |= retold
        self._retold |= retold
        if event.message_step_id in retold:
            self._retold.add(event.message_id)

    def _step_created(self, item: Recorded[e.StepCreated]) -> list[bytes]:
        event = item.event
        if event.step_id in self._hidden:
            return []
        shown = event.step_id in self._steps
        self._promised.pop(event.step_id, None)
        self._deaf.add(event.step_id)
        taken_back: list[bytes] = []
        if self._promised.keys() <= self._retold:
            taken_back = self._take_back("failed", item.seconds, _MADE_ANEW)
        elif not shown:
            # Text behind tool calls in one reply: the tools' step is open, and npm's client throws at a second one. The
            # message can be retrieved; the stream goes without it.
            self._hidden |= {event.step_id, event.message_id or ""}
            return []
        opening = [] if shown else self._open_step(replace(opened_step(item), tool_calls=[]))
        self._steps[event.step_id] = opened_step(item)
        if event.step_id in self._retold:
            return [*taken_back, *opening]
        calls = [
            frame
            for index, call in enumerate(event.tool_calls)
            for frame in self._calls.rest(event.step_id, index, call)
        ]
        return [*taken_back, *opening, *calls]

    def _step_changed(
        self, event: e.StepEnded | e.ToolOutputsSubmitted | e.ToolCallFinished | e.ToolCallStopped
    ) -> list[bytes]:
        step = self._steps.get(event.step_id)
        if step is None or event.step_id in self._hidden:
            return []
        patch = patched({"results": step.results}, step_patch(event) or {})
        step = self._steps[event.step_id] = replace(step, **patch)
        match event:
            case e.StepEnded():
                return [self._step_ended(step)]
            case e.ToolCallFinished() | e.ToolCallStopped() if event.step_id not in self._retold:
                return self._calls.ended(event.call_id, event.shown.get("outputs", ()))
            case _:
                return []

    def _step_ended(self, step: Step) -> bytes:
        shown = self._wire.step(step, streamed=True, include=self._include)
        return frames.frame(f"thread.run.step.{step.status}", shown)

    def _message_written(self, item: Recorded[e.MessageWritten]) -> list[bytes]:
        message = written_message(item)
        if message.id in self._hidden:
            return []
        told: list[bytes] = []
        if message.id not in self._messages:
            told += self._open_message(replace(message, content=[], status="in_progress", ended_at=None))
        if message.id not in self._retold:
            told += self._parts.rest(message)
        self._messages[message.id] = message
        return [*told, self._message_ended(message)]

    def _message_ended(self, message: Message) -> bytes:
        status = "completed" if message.status == "completed" else "incomplete"
        return frames.frame(f"thread.message.{status}", self._wire.message(message, streamed=True))

    def _take_back(self, how: _Early, at: int, error: Json | None) -> list[bytes]:
        """Ends what live pieces promised and events did not bring: messages as far as they were shown, then steps."""
        told: list[bytes] = []
        for step_id, message_id in self._promised.items():
            self._deaf.add(step_id)
            self._hidden.add(step_id)
            if message_id is not None:
                self._hidden.add(message_id)
                message = replace(
                    self._messages[message_id],
                    content=self._parts.shown(message_id),
                    status="incomplete",
                    incomplete_reason=f"run_{how}",
                    ended_at=at,
                )
                told.append(self._message_ended(message))
            last_error = error if how == "failed" else None
            step = replace(self._steps[step_id], status=how, ended_at=at, last_error=last_error)
            told.append(self._step_ended(step))
        self._promised.clear()
        return told

    # Deltas.

    def _text(self, run: Run, item: MessageTextDelta) -> list[bytes]:
        """A piece of a message; before its first piece the message itself."""
        told = [] if item.message_id in self._messages else self._promise(run, item)
        return told + self._parts.live(item)

    def _call(self, run: Run, item: StepCallDelta) -> list[bytes]:
        if not self._calls.knows(item):
            # Its beginning was missed, or another attempt begins it again: events tell it, as far as it can be told.
            self._deaf.add(item.step_id)
            return []
        told = [] if item.step_id in self._steps else self._promise(run, item)
        return told + self._calls.live(item)

    def _promise(self, run: Run, item: MessageTextDelta | StepCallDelta) -> list[bytes]:
        """Opens the step (and message) that a live piece belongs to; what an earlier attempt left open ends first."""
        told = self._take_back("failed", item.created_at, _MADE_ANEW)
        step = promised_step(run, item)
        self._promised[step.id] = step.message_id
        told += self._open_step(step)
        return told + self._open_message(promised_message(run, item)) if isinstance(item, MessageTextDelta) else told

    def _open_step(self, step: Step) -> list[bytes]:
        self._steps[step.id] = step
        shown = self._wire.step(step, streamed=True)
        return [
            frames.frame("thread.run.step.created", shown),
            frames.frame("thread.run.step.in_progress", shown),
        ]

    def _open_message(self, message: Message) -> list[bytes]:
        self._messages[message.id] = message
        shown = self._wire.message(message, streamed=True)
        return [frames.frame("thread.message.created", shown), frames.frame("thread.message.in_progress", shown)]
