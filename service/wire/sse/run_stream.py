"""The stream of one run: a state machine that turns the run's events and deltas into server-sent events (frames).

A stream remembers what it has sent, and each later event adds only what is new. A watcher that received all deltas gets
no text twice. A watcher that received none gets the whole text as one delta. If another process took over the run in
the middle of a message, the watcher gets the completed message only. The order of frames is specified in
docs/behaviour.md ("Order of events").

Deltas arrive before the events that create their step and message. The stream opens placeholders for both, which events
then confirm. A placeholder that no event confirms is ended before the run continues or ends, because clients expect
every open message and step to end. Deltas that arrive after their event are dropped: a watcher that reads the log to
catch up sees events before deltas that still wait in its queue.
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
# Events without frames in the stream of a run. Those of threads and messages concern no run.
_Ignored = (
    e.LifeEvent
    | e.ImportEvent
    | e.MessageAdded
    | e.MessageModified
    | e.MessageDeleted
    | e.ModelCallFinished
    | e.ModelCallFailed
    | e.ModelCallStopped
)


class RunStream:
    """The stream of one run. It begins with the run's creation, or at the state of `run` and its open `steps`.

    `include` is the result of `Wire.parse_include`. Without `has_ids`, frames have no line `id:`. `is_finished` is set
    with the last frame, when the run has ended or requires action.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        run: Run | None = None,
        steps: Sequence[Step] = (),
        include: frozenset[str] = frozenset(),
        has_ids: bool = True,
    ) -> None:
        self.is_finished = False
        self._has_ids = has_ids
        self._wire = wire
        self._run = run
        self._include = include
        # Objects that were sent, by id.
        self._steps = {step.id: step for step in steps}
        self._messages: dict[str, Message] = {}
        self._content = StreamedContent(wire)
        self._calls = StreamedCalls(wire)
        # Ids of steps that deltas opened and no event has confirmed, each with the id of its message.
        self._placeholders: dict[str, str | None] = {}
        # Ids of steps and messages that a later attempt writes again, of steps that take no more deltas, and of steps
        # and messages that the stream does not show.
        self._repeated_ids: set[str] = set()
        self._closed_steps: set[str] = set()
        self._hidden_ids: set[str] = set()
        # Version, attempt and sequence number of the next frame.
        self._next_id = (0, 1, 0)

    def feed(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """Returns the frames for an event or delta; none if it concerns another run."""
        if self.is_finished:
            return []
        if isinstance(item, RecordedEvent):
            self._next_id = (item.version, self._next_id[1], 0)
            found = self._event_frames(item)
        elif self._run is None or item.run_id != self._run.id:
            return []
        elif isinstance(item, MessageTextDelta):
            found = self._text_frames(self._run, item)
        else:
            found = self._step_delta_frames(self._run, item)
        return [self._with_id(frame) for frame in found] if self._has_ids else found

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        """Returns the last frame of a stream that fails. `type` is the error's type, for example "server_error"."""
        self.is_finished = True
        return frames.sse_frame("error", {"error": {"message": message, "type": type, "param": None, "code": code}})

    def _with_id(self, frame: bytes) -> bytes:
        """Returns the frame after a line `id: version.attempt.sequence`, which a client sends back to resume."""
        version, attempt, sequence = self._next_id
        self._next_id = (version, attempt, sequence + 1)
        # The last frame has no position in the thread.
        return frame if frame is frames.DONE_FRAME else b"id: %d.%d.%d\n%b" % (version, attempt, sequence, frame)

    # Events.

    def _event_frames(self, item: RecordedEvent[Any]) -> list[bytes]:
        event: e.ThreadEvent = item.event
        if isinstance(event, e.ThreadCreated):
            return [frames.sse_frame("thread.created", self._wire.render_thread(initial_thread(item), resources=True))]
        if isinstance(event, e.RunCreated) and self._run is None:
            self._run = initial_run(item)
            run = self._wire.render_run(self._run, streamed=True)
            return [frames.sse_frame("thread.run.created", run), frames.sse_frame("thread.run.queued", run)]
        if self._run is None or getattr(event, "run_id", None) != self._run.id:
            return []
        match event:
            case e.StepCreated():
                return self._step_created_frames(item)
            case e.MessageWritten():
                return self._message_written_frames(item)
            case e.ModelCallStarted():
                self._next_id = (self._next_id[0], event.attempt, 0)
                self._start_call(event)
                return []
            case e.ToolCallStarted(call_id=call_id, attempt=attempt):
                self._calls.start_attempt(call_id, attempt)
                return []
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped():
                return self._step_change_frames(event)
            case _:
                _others: e.RunEvent | _Ignored = event
                return self._run_change_frames(item)

    def _run_change_frames(self, item: RecordedEvent[Any]) -> list[bytes]:
        patch = run_patch(item)
        if patch is None or self._run is None:
            return []
        self._run = replace(self._run, **patch)
        if isinstance(item.event, e.RunModified | e.RunAdmitted):
            return []
        run = self._wire.render_run(self._run, streamed=True)
        run_frame = frames.sse_frame(f"thread.run.{run['status']}", run)
        if not isinstance(item.event, _PAUSES_OR_ENDS):
            return [run_frame]
        self.is_finished = True
        status = self._run.status
        end: _EarlyEnd = status if status == "cancelled" or status == "expired" else "failed"
        error = self._run.last_error if status == "failed" else _RETRIED
        return [*self._placeholder_end_frames(end, item.seconds, error), run_frame, frames.DONE_FRAME]

    def _start_call(self, event: e.ModelCallStarted) -> None:
        """Closes the placeholders of an earlier attempt: the new attempt writes all again, and is sent complete."""
        repeated = self._placeholders.keys() & {event.message_step_id, event.tool_step_id}
        self._closed_steps |= repeated
        self._repeated_ids |= repeated
        if event.message_step_id in repeated:
            self._repeated_ids.add(event.message_id)

    def _step_created_frames(self, item: RecordedEvent[e.StepCreated]) -> list[bytes]:
        event = item.event
        if event.step_id in self._hidden_ids:
            return []
        is_open = event.step_id in self._steps
        self._placeholders.pop(event.step_id, None)
        self._closed_steps.add(event.step_id)
        ends: list[bytes] = []
        if self._placeholders.keys() <= self._repeated_ids:
            ends = self._placeholder_end_frames("failed", item.seconds, _RETRIED)
        elif not is_open:
            # Text after tool calls in one reply. The step of the tool calls is open, and the client for Node throws an
            # error at a second open step. The stream leaves the message out; clients can retrieve it.
            self._hidden_ids |= {event.step_id, event.message_id or ""}
            return []
        opening = [] if is_open else self._step_opening_frames(replace(initial_step(item), tool_calls=[]))
        self._steps[event.step_id] = initial_step(item)
        if event.step_id in self._repeated_ids:
            return [*ends, *opening]
        calls = [
            frame
            for index, call in enumerate(event.tool_calls)
            for frame in self._calls.remaining_frames(event.step_id, index, call)
        ]
        return [*ends, *opening, *calls]

    def _step_change_frames(
        self, event: e.StepEnded | e.ToolOutputsSubmitted | e.ToolCallFinished | e.ToolCallStopped
    ) -> list[bytes]:
        step = self._steps.get(event.step_id)
        if step is None or event.step_id in self._hidden_ids:
            return []
        patch = merge_step_fields({"results": step.results}, step_patch(event) or {})
        step = self._steps[event.step_id] = replace(step, **patch)
        match event:
            case e.StepEnded():
                return [self._step_end_frame(step)]
            case e.ToolCallFinished() | e.ToolCallStopped() if event.step_id not in self._repeated_ids:
                return self._calls.remaining_output_frames(event.call_id, event.shown.get("outputs", ()))
            case _:
                _ignored: e.ToolOutputsSubmitted | e.ToolCallFinished | e.ToolCallStopped = event
                return []

    def _step_end_frame(self, step: Step) -> bytes:
        rendered = self._wire.render_step(step, streamed=True, include=self._include)
        return frames.sse_frame(f"thread.run.step.{step.status}", rendered)

    def _message_written_frames(self, item: RecordedEvent[e.MessageWritten]) -> list[bytes]:
        message = run_message(item)
        if message.id in self._hidden_ids:
            return []
        opening: list[bytes] = []
        if message.id not in self._messages:
            opening = self._message_opening_frames(replace(message, content=[], status="in_progress", ended_at=None))
        content = [] if message.id in self._repeated_ids else self._content.remaining_frames(message)
        self._messages[message.id] = message
        return [*opening, *content, self._message_end_frame(message)]

    def _message_end_frame(self, message: Message) -> bytes:
        status = "completed" if message.status == "completed" else "incomplete"
        return frames.sse_frame(f"thread.message.{status}", self._wire.render_message(message, streamed=True))

    def _placeholder_end_frames(self, end: _EarlyEnd, at: int, error: Json | None) -> list[bytes]:
        """Ends the steps that no event has confirmed, each after its message, which ends with the content sent so far.

        `at` is the time of the end in seconds; `error` the last_error of the steps if `end` is "failed".
        """
        ends: list[bytes] = []
        for step_id, message_id in self._placeholders.items():
            self._closed_steps.add(step_id)
            self._hidden_ids.add(step_id)
            if message_id is not None:
                self._hidden_ids.add(message_id)
                message = replace(
                    self._messages[message_id],
                    content=self._content.content_so_far(message_id),
                    status="incomplete",
                    incomplete_reason=f"run_{end}",
                    ended_at=at,
                )
                ends.append(self._message_end_frame(message))
            last_error = error if end == "failed" else None
            step = replace(self._steps[step_id], status=end, ended_at=at, last_error=last_error)
            ends.append(self._step_end_frame(step))
        self._placeholders.clear()
        return ends

    # Deltas.

    def _text_frames(self, run: Run, delta: MessageTextDelta) -> list[bytes]:
        if delta.step_id in self._closed_steps:
            return []
        if delta.message_id in self._messages:
            return self._content.delta_frames(delta)
        return self._placeholder_frames(run, delta) + self._content.delta_frames(delta)

    def _step_delta_frames(self, run: Run, delta: StepCallDelta | StepOutputDelta) -> list[bytes]:
        if isinstance(delta, StepOutputDelta):
            is_hidden = delta.step_id in self._hidden_ids or delta.step_id in self._repeated_ids
            return [] if is_hidden else self._calls.output_frames(delta)
        if delta.step_id in self._closed_steps:
            return []
        if not self._calls.is_next(delta):
            # The stream missed the beginning of the call, or another attempt begins it again. The events have the rest.
            self._closed_steps.add(delta.step_id)
            return []
        opening = [] if delta.step_id in self._steps else self._placeholder_frames(run, delta)
        return opening + self._calls.delta_frames(delta)

    def _placeholder_frames(self, run: Run, delta: MessageTextDelta | StepCallDelta) -> list[bytes]:
        """Opens the step (and message) that a delta belongs to, after it has ended those of an earlier attempt."""
        ends = self._placeholder_end_frames("failed", delta.created_at, _RETRIED)
        step = placeholder_step(run, delta)
        self._placeholders[step.id] = step.message_id
        opening = ends + self._step_opening_frames(step)
        if isinstance(delta, MessageTextDelta):
            opening += self._message_opening_frames(placeholder_message(run, delta))
        return opening

    def _step_opening_frames(self, step: Step) -> list[bytes]:
        self._steps[step.id] = step
        rendered = self._wire.render_step(step, streamed=True)
        return [frames.sse_frame(f"thread.run.step.{state}", rendered) for state in ("created", "in_progress")]

    def _message_opening_frames(self, message: Message) -> list[bytes]:
        self._messages[message.id] = message
        rendered = self._wire.render_message(message, streamed=True)
        return [frames.sse_frame(f"thread.message.{state}", rendered) for state in ("created", "in_progress")]
