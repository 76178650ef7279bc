"""All runs of a thread as one stream of server-sent events, which a browser's EventSource resumes where it broke off.

Each run's frames are those of `RunStream`; their ids are given anew. The last frame of an event carries
`version.attempt.0.event`, that of a live piece `version.attempt.number.message` (or `.call`), where the version is of
the event before it. So an id says which events were seen whole, and whether something of the open model call was: then
that call's message or tool calls come whole at their end, since what was missed of the pieces is nowhere.
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
SeenPiece = Literal["message", "call"]
_SEEN_PIECES: dict[str | None, SeenPiece] = {"message": "message", "call": "call"}


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a client left off: it saw all events up to `version`, and pieces of the call that was open there.

    `run_stream`: the id is of a run's own stream, where each frame has one; then its event may have been seen in part.
    """

    version: int
    seen: SeenPiece | None
    is_of_run_stream: bool


def parse_event_id(id: str) -> ResumePoint | None:
    """The place that an id names; None where it is none of ours."""
    match = _ID.fullmatch(id)
    if match is None:
        return None
    seen = _SEEN_PIECES.get(match[4])
    return ResumePoint(int(match[1]), seen, is_of_run_stream=match[4] is None)


class ThreadStream:
    """`over` once the thread is deleted."""

    def __init__(self, wire: Wire) -> None:
        self.is_over = False
        self._wire = wire
        self._runs: dict[str, RunStream] = {}
        # Of runs whose model speaks: how the call began.
        self._open_calls: dict[str, RecordedEvent[ModelCallStarted]] = {}
        self._version = 0
        self._attempt = 1
        self._pieces = 0

    def resume(self, past: Iterable[RecordedEvent[Any]], left: ResumePoint) -> None:
        """Takes up at a place; `past` are the events up to it, from where the runs began that were active there."""
        for item in past:
            self.feed(item)
        for run_id, started in self._open_calls.items():
            seen = left.seen or ("message" if left.is_of_run_stream else None)
            if seen is not None:
                self._assume_seen(self._runs[run_id], started, seen)

    @staticmethod
    def has_open_call(past: Sequence[RecordedEvent[Any]]) -> bool:
        """Whether a model call was open at the end of `past`: then what a client saw last was a piece of it."""
        spoken = [item for item in past if isinstance(item.event, (ModelCallStarted, *_ENDS_CALL))]
        return bool(spoken) and isinstance(spoken[-1].event, ModelCallStarted)

    def feed(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """The frames that `item` brings."""
        if not isinstance(item, RecordedEvent):
            stream = self._runs.get(item.run_id)
            told = stream.feed(item) if stream is not None else []
            self._pieces += 1
            kind = b"message" if isinstance(item, MessageTextDelta) else b"call"
            return _with_last_id(told, b"%d.%d.%d.%b" % (self._version, self._attempt, self._pieces, kind))
        self._version, self._pieces = item.version, 0
        told = self._event_frames(item)
        return _with_last_id(told, b"%d.%d.0.event" % (self._version, self._attempt))

    def _event_frames(self, item: RecordedEvent[Any]) -> list[bytes]:
        event = item.event
        if isinstance(event, e.ThreadDeleted):
            self.is_over = True
        run_id: str | None = getattr(event, "run_id", None)
        if run_id is None:
            return []
        if isinstance(event, e.RunCreated):
            self._runs[run_id] = RunStream(self._wire)
        stream = self._runs.get(run_id)
        if stream is None:
            return []
        if isinstance(event, ModelCallStarted):
            self._open_calls[run_id], self._attempt = item, event.attempt
        elif isinstance(event, _ENDS_CALL):
            self._open_calls.pop(run_id, None)
        told = stream.feed(item)
        if stream.is_finished and isinstance(event, e.RunRequiresAction):
            stream.is_finished = False  # it goes on in this stream, where a run's own ends
        elif stream.is_finished:
            del self._runs[run_id]
            self._open_calls.pop(run_id, None)
        return told

    def _assume_seen(self, stream: RunStream, started: RecordedEvent[ModelCallStarted], seen: SeenPiece) -> None:
        """As for one who watched the call's first attempt in part, and is told the whole of the second at its end."""
        call, at = started.event, started.seconds
        piece: Delta = MessageTextDelta(call.run_id, call.message_id, call.message_step_id, at, "")
        if seen == "call":
            piece = StepCallDelta(call.run_id, call.tool_step_id, at, 0, "", "", "")
        stream.feed(piece)
        stream.feed(replace(started, event=call.model_copy(update={"attempt": call.attempt + 1})))


def _with_last_id(told: list[bytes], id: bytes) -> list[bytes]:
    """Only the last frame has the id: what is cut off before it is sent again."""
    plain = [frame.partition(b"\n")[2] if frame.startswith(b"id: ") else frame for frame in told]
    return [*plain[:-1], b"id: %b\n%b" % (id, plain[-1])] if plain else []
