"""`replace` of `events.replacement` makes the copies that `dataclasses.replace` makes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from events.replacement import replace
from events.thread.state import RunState, ThreadState

RUN = RunState("run_1", 3, "asst_1", "in_progress", 60, None, 5)
STATES = [RUN, ThreadState("thread_1", exists=True, run=RUN)]


@pytest.mark.parametrize("state", STATES)
def test_copies(state: RunState | ThreadState) -> None:
    before = dataclasses.replace(state)
    assert replace(state) == state
    for field in dataclasses.fields(state):
        for value in (None, 0, "x"):
            changes = {field.name: value}
            copy = replace(state, **changes)  # type: ignore[arg-type]
            assert copy == dataclasses.replace(state, **changes)  # type: ignore[arg-type]
            assert type(copy) is type(state)
    assert state == before


def test_refusals() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        replace(RUN, colour="blue")  # type: ignore[call-arg]

    @dataclass(frozen=True, slots=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            assert self.size > 0

    with pytest.raises(TypeError, match="__post_init__"):
        replace(Checked(1), size=0)
