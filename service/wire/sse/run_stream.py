"""The stream of one run: a state machine that turns the run's events and deltas into server-sent events (frames).

A stream remembers what it has sent, and each later event adds only what is new. A watcher that received all deltas gets
no text twice. A watcher that received none gets the whole text as one delta. A stream that is resumed assumes that the
client has what the id of its last frame says (`service.wire.sse.stream_point`). The order of frames is specified in
docs/behaviour.md ("Order of events").

Deltas arrive before the events that create their step and message. The stream opens placeholders for both, which events
then confirm. A placeholder that no event confirms, since its process died, is ended when the next attempt starts or the
run ends, because clients expect every open message and step to end. Deltas that arrive after their event, or after the
start of the next attempt, are dropped: a watcher that reads the log to catch up sees events before deltas that still
wait in its queue.
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
from service.wire.sse.stream_point import CallProgress, FrameIds, StreamPoint
from service.wire.sse.tool_calls import StreamedCalls
from service.wire.sse.withheld import WithheldOutput

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

    `include` is the result of `Wire.parse_include`. `is_finished` is set with the last frame, when the run has ended or
    requires action. The stream goes on behind an action that was required up to version `resumed_until`.

    `progress` is that of the open call, as ids have it: b"", or b".m12" after 12 characters of the message.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        run: Run | None = None,
        steps: Sequence[Step] = (),
        include: frozenset[str] = frozenset(),
        resumed_until: int = 0,
    ) -> None:
        self.is_finished = False
        self.progress = b""
        self._resumed_until = resumed_until
        self._ids = FrameIds()
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
        # Ids of steps that take no more deltas, and of steps and messages that the stream does not show.
        self._closed_steps: set[str] = set()
        self._hidden_ids: set[str] = set()
        # The last model call, and the time in seconds at which it created its objects.
        self._call: e.ModelCallStarted | None = None
        self._call_at = 0
        # Characters that were sent of the open message.
        self._sent_text = 0
        self._withheld: WithheldOutput | None = None

    @property
    def run_id(self) -> str | None:
        """The id of the run; None before its creation."""
        return None if self._run is None else self._run.id

    def feed(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """Returns the frames for an event or delta, with their ids; none if it concerns another run."""
        before = self.progress
        found = self.render(item)
        if isinstance(item, RecordedEvent):
            return self._ids.of_event(item.version, found, before, self.progress)
        return self._ids.of_delta(found, before, self.progress)

    def render(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """Returns the frames for an event or delta, without ids; none if it concerns another run."""
        if self.is_finished:
            return []
        if isinstance(item, RecordedEvent):
            return self._event_frames(item)
        if self._run is None or item.run_id != self._run.id:
            return []
        if isinstance(item, MessageTextDelta):
            return self._text_frames(self._run, item)
        return self._step_delta_frames(self._run, item)

    def resume(self, point: StreamPoint) -> list[bytes]:
        """Goes on at this point, after the events up to its version were fed. Returns the first frames."""
        self._ids.resume(point)
        if point.progress is None:
            return []
        opening = self.assume(point.progress, point.frames)
        return self._ids.of_step(opening, point.progress.kind, point.frames + 1)

    def assume(self, progress: CallProgress, frame_count: int) -> list[bytes]:
        """Assumes that the client has this part of the open call's output. Returns the frames, without ids, that it
        lacks of those that open the call's step. `frame_count` says how many of them it has if the progress has no
        lengths.
        """
        call, run = self._call, self._run
        if self.is_finished or run is None:
            return []
        if progress.kind == "o":
            self._withheld = WithheldOutput(progress)
            self.progress = b".o%d-%d" % progress.lengths if progress.lengths else b""
            return []
        if call is None:
            return []
        opening = self._assumed_opening(run, call, is_message=progress.kind == "m")
        if progress.lengths is not None:
            self._withheld = WithheldOutput(progress)
            self.progress = b".%b%b" % (progress.kind.encode(), b"-".join(b"%d" % one for one in progress.lengths))
            self._sent_text = progress.lengths[0]
            return []
        self.progress = b".m0" if progress.kind == "m" else b".c"
        return opening[frame_count:]

    def error_frame(self, message: str, type: str, code: str | None) -> bytes:
        """Returns the last frame of a stream that fails. `type` is the error's type, for example "server_error"."""
        self.is_finished = True
        return frames.sse_frame("error", {"error": {"message": message, "type": type, "param": None, "code": code}})

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
                return self._call_started_frames(event, item.seconds)
            case e.ToolCallStarted(call_id=call_id, attempt=attempt):
                self._calls.start_attempt(call_id, attempt, has_outputs=self._withheld is not None)
                self._end_progress()
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
        if isinstance(item.event, e.RunRequiresAction) and item.version <= self._resumed_until:
            return [run_frame]
        self.is_finished = True
        status = self._run.status
        end: _EarlyEnd = status if status == "cancelled" or status == "expired" else "failed"
        error = self._run.last_error if status == "failed" else _RETRIED
        return [*self._placeholder_end_frames(end, item.seconds, error), run_frame, frames.DONE_FRAME]

    def _call_started_frames(self, event: e.ModelCallStarted, at: int) -> list[bytes]:
        """Ends the placeholders of an earlier attempt, whose process died. The new attempt has new ids."""
        if self._call is None or self._call.message_id != event.message_id:
            self._call_at = at
        self._call = event
        self._end_progress()
        return self._placeholder_end_frames("failed", at, _RETRIED)

    def _end_progress(self) -> None:
        """Ends the progress of a call: its output has been sent, or will not come."""
        self.progress, self._withheld = b"", None

    def _step_created_frames(self, item: RecordedEvent[e.StepCreated]) -> list[bytes]:
        event = item.event
        if event.step_id in self._hidden_ids:
            return []
        is_open = event.step_id in self._steps
        self._placeholders.pop(event.step_id, None)
        self._closed_steps.add(event.step_id)
        if self._placeholders and not is_open:
            # Text after tool calls in one reply. The step of the tool calls is open, and the client for Node throws an
            # error at a second open step. The stream leaves the message out; clients can retrieve it.
            self._hidden_ids |= {event.step_id, event.message_id or ""}
            return []
        opening = [] if is_open else self._step_opening_frames(replace(initial_step(item), tool_calls=[]))
        self._steps[event.step_id] = initial_step(item)
        if event.message_id is not None:
            return opening
        for index, length in enumerate(self._withheld.lengths if self._withheld is not None else ()):
            if index < len(event.tool_calls):
                self._calls.assume(event.step_id, index, event.tool_calls[index], length)
        self._end_progress()
        calls = [
            frame
            for index, call in enumerate(event.tool_calls)
            for frame in self._calls.remaining_frames(event.step_id, index, call)
        ]
        return [*opening, *calls]

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
            case e.ToolCallFinished() | e.ToolCallStopped():
                outputs = event.shown.get("outputs", ())
                if self._withheld is not None:
                    count, length = self._withheld.lengths
                    self._calls.assume_outputs(event.call_id, outputs, count, length)
                self._end_progress()
                return self._calls.remaining_output_frames(event.call_id, outputs)
            case _:
                _ignored: e.ToolOutputsSubmitted = event
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
            unwritten = replace(message, content=[], attachments=[], status="in_progress", ended_at=None)
            opening = self._message_opening_frames(replace(unwritten, incomplete_reason=None))
        images = 0
        if self._withheld is not None:
            images = self._withheld.images
            self._content.assume(message, self._withheld.lengths[0])
        self._end_progress()
        content = self._content.remaining_frames(message)[images:]
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
        self._end_progress()
        return ends

    # Deltas.

    def _text_frames(self, run: Run, delta: MessageTextDelta) -> list[bytes]:
        if delta.step_id in self._closed_steps:
            return []
        if self._withheld is not None:
            return self._withheld_text_frames(self._withheld, delta)
        if delta.message_id in self._messages:
            self._sent_text += len(delta.text)
            self.progress = b".m%d" % self._sent_text
            return self._content.delta_frames(delta)
        opening = self._placeholder_frames(run, delta)
        if not opening:
            return []
        self._sent_text = len(delta.text)
        self.progress = b".m%d" % self._sent_text
        return opening + self._content.delta_frames(delta)

    def _withheld_text_frames(self, withheld: WithheldOutput, delta: MessageTextDelta) -> list[bytes]:
        """Returns the frames of a delta without the part that the client has. Its step and message are open."""
        if delta.message_id not in self._messages:
            return []
        seen, new = withheld.split_text(delta)
        if seen is not None:
            self._content.delta_frames(seen)
        if new is None:
            return []
        self._withheld = None
        self._sent_text += len(new.text)
        self.progress = b".m%d" % self._sent_text
        return self._content.delta_frames(new)[withheld.images :]

    def _step_delta_frames(self, run: Run, delta: StepCallDelta | StepOutputDelta) -> list[bytes]:
        if isinstance(delta, StepOutputDelta):
            return [] if delta.step_id in self._hidden_ids else self._output_frames(delta)
        if delta.step_id in self._closed_steps:
            return []
        if not self._calls.is_next(delta):
            # The stream missed the beginning of the call. The events have the rest.
            self._closed_steps.add(delta.step_id)
            return []
        opening: list[bytes] = []
        if delta.step_id not in self._steps and not (opening := self._placeholder_frames(run, delta)):
            return []
        seen, new = (None, delta) if self._withheld is None else self._withheld.split_call(delta)
        if seen is not None:
            self._calls.delta_frames(seen)
        if new is None:
            return []
        found = self._calls.delta_frames(new)
        self.progress = b".c" + self._calls.lengths(delta.step_id)
        return opening + found

    def _output_frames(self, delta: StepOutputDelta) -> list[bytes]:
        seen, new = (None, delta) if self._withheld is None else self._withheld.split_output(delta)
        if seen is not None:
            self._calls.output_frames(seen)
        found = [] if new is None else self._calls.output_frames(new)
        if found:
            self.progress = b".o" + self._calls.output_lengths(delta.call_id)
        return found

    def _placeholder_frames(self, run: Run, delta: MessageTextDelta | StepCallDelta) -> list[bytes]:
        """Opens the step (and message) that a delta belongs to.

        Returns nothing if the delta is of an earlier attempt, or if another step is open.
        """
        call = self._call
        if self._placeholders or (call and delta.step_id not in (call.message_step_id, call.tool_step_id)):
            return []
        step = placeholder_step(run, delta)
        self._placeholders[step.id] = step.message_id
        opening = self._step_opening_frames(step)
        if isinstance(delta, MessageTextDelta):
            opening += self._message_opening_frames(placeholder_message(run, delta))
        return opening

    def _assumed_opening(self, run: Run, call: e.ModelCallStarted, *, is_message: bool) -> list[bytes]:
        """Opens the step (and message) of the call. Returns the frames, which the client has at least in part."""
        at = self._call_at
        if not is_message:
            piece = StepCallDelta(run.id, call.tool_step_id, at, index=0, id=None, name=None, arguments="")
            return [] if call.tool_step_id in self._steps else self._placeholder_frames(run, piece)
        text = MessageTextDelta(run.id, call.message_id, call.message_step_id, at, text="")
        if call.message_step_id not in self._steps:
            return self._placeholder_frames(run, text)
        return [] if call.message_id in self._messages else self._message_opening_frames(placeholder_message(run, text))

    def _step_opening_frames(self, step: Step) -> list[bytes]:
        self._steps[step.id] = step
        rendered = self._wire.render_step(step, streamed=True)
        return [frames.sse_frame(f"thread.run.step.{state}", rendered) for state in ("created", "in_progress")]

    def _message_opening_frames(self, message: Message) -> list[bytes]:
        self._messages[message.id] = message
        rendered = self._wire.render_message(message, streamed=True)
        return [frames.sse_frame(f"thread.message.{state}", rendered) for state in ("created", "in_progress")]
