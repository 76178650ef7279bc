"""A stream of a thread that breaks off anywhere and is resumed with the last id misses no event of the runs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import RecordedEvent
from service.wire import v2
from service.wire.sse.thread_stream import ThreadStream, parse_event_id
from tests.wire.sse.stream_rules import parse
from tests.wire.sse.test_stream_laws import Audience


class RecordingAudience(Audience):
    """An audience that records the events and deltas in order."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, v2.WIRE)
        self.items: list[Any] = []

    def _tell(self, items: list[Any]) -> None:
        self.items += items


def lasting_data(frames: list[bytes]) -> list[tuple[str, Any]]:
    """Returns the frames of events: changes of runs, and ends of messages and steps."""
    told = [parse(frame) for frame in frames]
    ends = ("thread.message.completed", "thread.run.step.completed")
    return [
        (event, data)
        for event, data in told
        if event in ends or (event.startswith("thread.run.") and "step" not in event)
    ]


def last_id(frames: list[bytes]) -> str | None:
    ids = [line[4:] for frame in frames for line in frame.decode().split("\n") if line.startswith("id: ")]
    return ids[-1] if ids else None


@pytest.mark.slow
@settings(max_examples=150)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 80))
def test_a_stream_that_breaks_off_misses_nothing(random: Random, length: int) -> None:
    heard = RecordingAudience(random)
    heard.play(length)
    whole = ThreadStream(v2.WIRE)
    batches = [(item, whole.feed(item)) for item in heard.items]
    told = [(number, frame) for number, (_, frames) in enumerate(batches) for frame in frames]
    if not told:
        return
    cut = random.randint(1, len(told))
    seen = [frame for _, frame in told[:cut]]
    id = last_id(seen)
    left = parse_event_id(id) if id is not None else None
    version = left.version if left is not None else 0
    assert left is None or not left.is_of_run_stream
    resumed = ThreadStream(v2.WIRE)
    if left is not None:
        resumed.resume(heard.world.log[:version], left)
    # A resumed stream reads the log first, then the deltas since the cut, some of which it has seen.
    more = [frame for entry in heard.world.log[version:] for frame in resumed.feed(entry)]
    later = [item for item, _ in batches[told[cut - 1][0] + 1 :] if not isinstance(item, RecordedEvent)]
    more += [frame for item in later for frame in resumed.feed(item)]
    found = lasting_data(seen + more)
    assert [one for one in lasting_data([frame for _, frame in told]) if one not in found] == []
    ids = [line for frame in more for line in frame.decode().split("\n") if line.startswith("id: ")]
    assert all((at := parse_event_id(line[4:])) is not None and at.version >= version for line in ids)
    assert resumed.is_over == whole.is_over


@pytest.mark.parametrize(
    "id", ["", "1", "1.2", "1.2.3.4", "1.2.3.word", "-1.0.0", "1.0.0.event ", "9" * 20 + ".1.1", "١.٢.٣"]
)
def test_what_is_no_id(id: str) -> None:
    assert parse_event_id(id) is None
