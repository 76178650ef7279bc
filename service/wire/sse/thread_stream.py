"""The stream of all runs of a thread, which a browser's EventSource resumes after its connection broke.

The frames of each run, and their ids, are those of `RunStream`.
"""

from __future__ import annotations

from events.envelope import RecordedEvent
from events.thread import events as e
from service.deltas import Delta
from service.wire.api import Wire
from service.wire.sse.run_stream import RunStream
from service.wire.sse.stream_point import FrameIds, StreamPoint

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
_OnlyForRuns = e.MessageWritten | e.RunEvent | e.StepEvent | e.ModelCallEvent | e.ToolCallEvent


class ThreadStream:
    """Sends the frames of all runs of a thread. `is_finished` is set when the thread is deleted."""

    def __init__(self, wire: Wire) -> None:
        self.is_finished = False
        self._wire = wire
        self._runs: dict[str, RunStream] = {}
        self._ids = FrameIds()
        # The stream of the run whose call is open, if one was.
        self._at_work: RunStream | None = None

    def resume(self, point: StreamPoint) -> list[bytes]:
        """Goes on at this point, after the events up to its version were fed, from the creation of the oldest run that
        was active then. Returns the first frames.
        """
        self._ids.resume(point)
        if point.progress is None or self._at_work is None:
            return []
        opening = self._at_work.assume(point.progress, point.frames)
        return self._ids.of_step(opening, point.progress.kind, point.frames + 1)

    def feed(self, item: RecordedEvent[e.ThreadEvent] | Delta) -> list[bytes]:
        """Returns the frames for an event or delta."""
        before = self._progress
        if isinstance(item, RecordedEvent):
            return self._ids.of_event(item.version, self._event_frames(item), before, self._progress)
        stream = self._runs.get(item.run_id)
        found = stream.render(item) if stream is not None else []
        return self._ids.of_delta(found, before, self._progress)

    @property
    def _progress(self) -> bytes:
        return b"" if self._at_work is None else self._at_work.progress

    def _event_frames(self, item: RecordedEvent[e.ThreadEvent]) -> list[bytes]:
        event = item.event
        match event:
            case e.ThreadDeleted():
                self.is_finished = True
            case e.RunCreated():
                self._runs[event.run_id] = RunStream(self._wire)
            case e.ModelCallStarted():
                self._at_work = self._runs.get(event.run_id)
            case _:
                _others: _Ignored | _OnlyForRuns = event
        run_id: str | None = getattr(event, "run_id", None)
        stream = self._runs.get(run_id) if run_id is not None else None
        if run_id is None or stream is None:
            return []
        run_frames = stream.render(item)
        if stream.is_finished and isinstance(event, e.RunRequiresAction):
            stream.is_finished = False  # the run continues in this stream, though its own stream ends
        elif stream.is_finished:
            del self._runs[run_id]
        return run_frames
