"""A stream that breaks off after any frame and is resumed with its id shows everything once, in order and complete."""

from __future__ import annotations

from copy import deepcopy
from random import Random
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import RecordedEvent
from events.thread import events as e
from service.deltas import CallDeltas, Delta
from service.wire import v2
from service.wire.sse.run_stream import RunStream
from service.wire.sse.stream_point import CallProgress, StreamPoint, parse_point
from service.wire.sse.thread_stream import ThreadStream
from tests.wire.sse.stream_rules import add_delta, parse
from tests.wire.sse.test_stream_laws import Audience

_STARTS = (e.ModelCallStarted, e.ToolCallStarted)
_ENDS = (
    e.ModelCallFinished,
    e.ModelCallFailed,
    e.ModelCallStopped,
    e.ToolCallFinished,
    e.ToolCallStopped,
    e.RunClaimed,
)


class RecordingAudience(Audience):
    """An audience that records the events and deltas in order."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, v2.WIRE)
        self.items: list[Any] = []

    def _tell(self, items: list[Any]) -> None:
        self.items += items


class AnyStream(Protocol):
    """The stream of a run or of a thread."""

    def feed(self, item: Any) -> list[bytes]: ...

    def resume(self, point: StreamPoint) -> list[bytes]: ...


def id_of(frame: bytes) -> str | None:
    first = frame.decode().split("\n", 1)[0]
    return first[4:] if first.startswith("id: ") else None


def live_deltas(items: list[Any]) -> list[Delta]:
    """Returns the deltas of the open call, joined, as a feed gives them to a watcher that comes now."""
    call: CallDeltas | None = None
    for item in items:
        if not isinstance(item, RecordedEvent):
            if call is not None:
                call.add([item])
        elif isinstance(item.event, _STARTS):
            call = CallDeltas()
        elif isinstance(item.event, _ENDS):
            call = None
    return [] if call is None else call.join()


def resumed_frames(stream: AnyStream, items: list[Any], now: int, point: StreamPoint) -> list[tuple[int, bytes]]:
    """Returns the frames of a stream that is resumed at `point`, when the first `now` items have happened.

    Each comes with the number of items that must have happened before it.
    """
    log = [item for item in items[:now] if isinstance(item, RecordedEvent)]
    for item in log:
        if item.version <= point.version:
            stream.feed(item)
    found = [(now, frame) for frame in stream.resume(point)]
    past = [item for item in log if item.version > point.version]
    numbered = [(now, item) for item in (*past, *live_deltas(items[:now]))]
    numbered += enumerate(items[now:], start=now + 1)
    return found + [(number, frame) for number, item in numbered for frame in stream.feed(item)]


def ids_of_broken_attempts(items: list[Any]) -> set[str]:
    """Returns the ids of objects that attempts wrote whose process died."""
    broken: set[str] = set()
    last: e.ModelCallStarted | None = None
    for item in items:
        event = item.event if isinstance(item, RecordedEvent) else None
        if isinstance(event, e.RunClaimed) and last is not None:
            broken |= {last.message_id, last.message_step_id, last.tool_step_id}
        elif isinstance(event, e.ModelCallStarted):
            last = event
        elif isinstance(event, _ENDS):
            last = None
    return broken


class Conversation:
    """A client: the frames of events in order, and the texts that the deltas add up to, by object."""

    def __init__(self, frames: list[bytes], without: set[str]) -> None:
        self.events: list[tuple[str, Any]] = []
        self.texts: dict[str, dict[int, Any]] = {}
        self.open: set[str] = set()
        for event, data in map(parse, frames):
            id = data["id"] if isinstance(data, dict) else ""
            if event.endswith(".delta"):
                assert id in self.open, f"a delta of {id}, which is not open"
                if id in without:
                    continue
                delta = data["delta"]
                pieces = delta["content"] if "content" in delta else delta["step_details"]["tool_calls"]
                for piece in deepcopy(pieces):
                    add_delta(self.texts.setdefault(id, {}).setdefault(piece.pop("index"), {}), piece)
                continue
            if event in ("thread.message.created", "thread.run.step.created"):
                self.open.add(id)
            elif "message" in event or "step" in event:
                assert id in self.open, f"{event} of {id}, which is not open"
                self.open -= set() if event.endswith("in_progress") else {id}
            if id not in without:
                self.events.append((event, data))
        self.open -= without


def check_every_cut(make: Any, items: list[Any], random: Random, muttered: set[str]) -> None:
    """Cuts the stream after some frames, and resumes it once or several times, each time later."""
    whole: AnyStream = make()
    sent = [(number, frame) for number, item in enumerate(items, start=1) for frame in whole.feed(item)]
    if not sent:
        return
    expected = Conversation([frame for _, frame in sent], muttered)
    seen = sent[: random.randint(1, len(sent))]
    for _ in range(random.randint(1, 4)):
        last = next((id for _, frame in reversed(seen) if (id := id_of(frame)) is not None), None)
        point = StreamPoint(0) if last is None else parse_point(last)
        assert point is not None, last
        more = resumed_frames(make(), items, random.randint(seen[-1][0], len(items)), point)
        seen += more[: random.randint(0, len(more))]
    last = next(id for _, frame in reversed(seen) if (id := id_of(frame)) is not None)
    point = parse_point(last)
    assert point is not None
    seen += resumed_frames(make(), items, random.randint(seen[-1][0], len(items)), point)
    found = Conversation([frame for _, frame in seen], muttered)
    assert found.events == expected.events
    assert found.texts == expected.texts
    assert found.open == expected.open


@pytest.mark.slow
@settings(max_examples=300)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 80))
def test_a_resumed_stream_of_a_thread_shows_everything_once(random: Random, length: int) -> None:
    audience = RecordingAudience(random)
    audience.play(length)
    muttered = audience.muttered | ids_of_broken_attempts(audience.items)
    check_every_cut(lambda: ThreadStream(v2.WIRE), audience.items, random, muttered)


@pytest.mark.slow
@settings(max_examples=300)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 80))
def test_a_resumed_stream_of_a_run_shows_everything_once(random: Random, length: int) -> None:
    audience = RecordingAudience(random)
    audience.play(length)
    muttered = audience.muttered | ids_of_broken_attempts(audience.items)
    created = [
        number
        for number, item in enumerate(audience.items)
        if isinstance(item, RecordedEvent) and isinstance(item.event, e.RunCreated)
    ]
    for first in created:
        check_every_cut(lambda: RunStream(v2.WIRE), audience.items[first:], random, muttered)


@pytest.mark.parametrize(
    "id",
    [
        *("", "1", "1.2.3", "1.2.x", "1.2.m-", "1.2.o3", "1.2.o1-2-3", "-1.0", "1.0 ", "9" * 20 + ".1", "١.٢"),
        "1.0.c" + "-".join(["1"] * 2_000),
    ],
)
def test_invalid_ids(id: str) -> None:
    assert parse_point(id) is None


def test_ids() -> None:
    assert parse_point("7.0") == StreamPoint(7)
    assert parse_point("7.2.m") == StreamPoint(7, 2, CallProgress("m", None))
    assert parse_point("7.1.c5-0") == StreamPoint(7, 1, CallProgress("c", (5, 0)))
