"""The stream of all runs of a thread, which a browser's EventSource resumes after its connection broke.

The frames of each run are those of `RunStream`, with other ids. The last frame of an event has the id
`version.attempt.0.event`, and that of a delta `version.attempt.number.message` (or `.call`), with the version of the
event before it. So an id says which events the client has received completely, and whether it has received deltas of
the model call that was open. In that case the call's message or tool calls are sent complete at their end, because the
deltas that the client missed are not stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from events.envelope import RecordedEvent
from events.thread import events as e
from events.thread.events import ModelCallStarted
from service.deltas import Delta, MessageTextDelta, StepCallDelta
from service.wire.api import Wire
from service.wire.sse.run_stream import RunStream

_ID = re.compile(r"(\d{1,15})\.(\d{1,9})\.(\d{1,9})(?:\.(event|message|call))?", re.ASCII)
_ENDS_CALL = (e.ModelCallFinished, e.ModelCallFailed, e.ModelCallStopped)
# Events without frames, and events that only the stream of their run reads.
_Ignored = (
    e.ThreadCreated
    | e.ThreadModified
    | e.ThreadForked
    | e.ImportEvent
    | e.MessageAdded
    | e.MessageModified
    | e.MessageDeleted
)
_OnlyForRuns = e.MessageWritten | e.RunEvent | e.StepEvent | e.ToolCallEvent
SeenPiece = Literal["message", "call"]
_SEEN_PIECES: dict[str | None, SeenPiece] = {"message": "message", "call": "call"}


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The last frame that a client has received: it has all events up to `version`.

    `seen`: the kind of deltas that it has received of the model call that was open. `is_of_run_stream`: the id comes
    from the stream of a single run, which gives every frame an id; so the client may have received its event in part.
    """

    version: int
    seen: SeenPiece | None
    is_of_run_stream: bool


def parse_event_id(id: str) -> ResumePoint | None:
    """Returns the position that an id of a frame stands for, or None if the id has another form."""
    match = _ID.fullmatch(id)
    if match is None:
        return None
    seen = _SEEN_PIECES.get(match[4])
    return ResumePoint(int(match[1]), seen, is_of_run_stream=match[4] is None)


class ThreadStream:
    """Sends the frames of all runs of a thread. `is_over` is set when the thread is deleted."""

    def __init__(self, wire: Wire) -> None:
        self.is_over = False
        self._wire = wire
        self._runs: dict[str, RunStream] = {}
        # The start of the open model call, by run id.
        self._open_calls: dict[str, RecordedEvent[ModelCallStarted]] = {}
        self._version = 0
        self._attempt = 1
        self._deltas = 0

    def resume(self, past: Iterable[RecordedEvent[Any]], point: ResumePoint) -> None:
        """Continues a stream. `past` are the events up to `point`, since the oldest run that is active there began."""
        for item in past:
            self.feed(item)
        for run_id, started in self._open_calls.items():
            seen = point.seen or ("message" if point.is_of_run_stream else None)
            if seen is not None:
                self._assume_seen(self._runs[run_id], started, seen)

    @staticmethod
    def has_open_call(past: Sequence[RecordedEvent[Any]]) -> bool:
        """Whether a model call is open after the events of `past`; then the client's last frame was a delta of it."""
        calls = [item for item in past if isinstance(item.event, (ModelCallStarted, *_ENDS_CALL))]
        return bool(calls) and isinstance(calls[-1].event, ModelCallStarted)

    def feed(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """Returns the frames for an event or delta."""
        if not isinstance(item, RecordedEvent):
            stream = self._runs.get(item.run_id)
            run_frames = stream.feed(item) if stream is not None else []
            self._deltas += 1
            kind = b"message" if isinstance(item, MessageTextDelta) else b"call"
            return _with_last_id(run_frames, b"%d.%d.%d.%b" % (self._version, self._attempt, self._deltas, kind))
        self._version, self._deltas = item.version, 0
        run_frames = self._event_frames(item)
        return _with_last_id(run_frames, b"%d.%d.0.event" % (self._version, self._attempt))

    def _event_frames(self, item: RecordedEvent[Any]) -> list[bytes]:
        event: e.ThreadEvent = item.event
        match event:
            case e.ThreadDeleted():
                self.is_over = True
            case e.RunCreated():
                self._runs[event.run_id] = RunStream(self._wire, has_ids=False)
            case ModelCallStarted():
                if event.run_id in self._runs:
                    self._open_calls[event.run_id], self._attempt = item, event.attempt
            case e.ModelCallFinished() | e.ModelCallFailed() | e.ModelCallStopped():
                self._open_calls.pop(event.run_id, None)
            case _:
                _others: _Ignored | _OnlyForRuns = event
        run_id: str | None = getattr(event, "run_id", None)
        stream = self._runs.get(run_id) if run_id is not None else None
        if run_id is None or stream is None:
            return []
        run_frames = stream.feed(item)
        if stream.is_finished and isinstance(event, e.RunRequiresAction):
            stream.is_finished = False  # the run continues in this stream, though its own stream ends
        elif stream.is_finished:
            del self._runs[run_id]
            self._open_calls.pop(run_id, None)
        return run_frames

    def _assume_seen(self, stream: RunStream, started: RecordedEvent[ModelCallStarted], seen: SeenPiece) -> None:
        """Puts the run's stream into the state in which it sends the open call complete at its end.

        It gets there with a delta of the call's attempt, and the start of a next attempt.
        """
        call, at = started.event, started.seconds
        if seen == "call":
            delta: Delta = StepCallDelta(
                run_id=call.run_id, step_id=call.tool_step_id, created_at=at, index=0, id="", name="", arguments=""
            )
        else:
            delta = MessageTextDelta(
                run_id=call.run_id, message_id=call.message_id, step_id=call.message_step_id, created_at=at, text=""
            )
        stream.feed(delta)
        stream.feed(replace(started, event=call.model_copy(update={"attempt": call.attempt + 1})))


def _with_last_id(run_frames: list[bytes], id: bytes) -> list[bytes]:
    """Returns the frames with the id on the last one only, so that a client that misses the last gets all again."""
    return [*run_frames[:-1], b"id: %b\n%b" % (id, run_frames[-1])] if run_frames else []
