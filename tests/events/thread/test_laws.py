"""Laws of every history of a thread (docs/architecture.md, "Rules")."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from events import codec
from events.envelope import SCHEMA_VERSION
from events.errors import DomainError
from events.thread import events as e
from events.thread.queue import MAX_WAITING_RUNS
from events.thread.run_status import TERMINAL
from events.thread.state import ThreadState, evolve
from tests.events.thread.histories import World
from tests.events.thread.log_rules import find_problems
from tests.events.thread.story import CREATE, Story, add, claim, finish, run

STATE = TypeAdapter(ThreadState)
# The maximum size of a state: a run with its ids and those of the open call, and the queued runs.
MAX_STATE = 1500
MAX_WAITING = 500

histories = st.builds(Random, st.integers(0, 2**32)), st.integers(1, 60)


def play_history(random: Random, length: int) -> tuple[World, list[ThreadState]]:
    """Returns a world after `length` commands, and its state after each event. Commands raise nothing
    but DomainError.
    """
    world = World(random)
    for _ in range(length):
        try:
            world.do(world.next_command())
        except DomainError:
            continue
    states, state = [], ThreadState(world.state.id)
    for entry in world.log:
        state = evolve(state, entry)
        states.append(state)
    return world, states


@pytest.mark.slow
@settings(max_examples=150)
@given(*histories)
def test_any_prefix_replayed_equals_the_live_state(random: Random, length: int) -> None:
    world = World(random)
    live: dict[int, ThreadState] = {0: world.state}
    for _ in range(length):
        before = (world.state, len(world.log))
        try:
            world.do(world.next_command())
        except DomainError:
            assert (world.state, len(world.log)) == before
        live[len(world.log)] = world.state
    folded = ThreadState(world.state.id)
    for version, entry in enumerate(world.log, start=1):
        stored = codec.load(codec.dump(entry.event), SCHEMA_VERSION)
        assert stored == entry.event
        folded = evolve(folded, replace(entry, event=stored))
        assert entry.version == version
        if version in live:
            assert folded == live[version]


@settings(max_examples=100)
@given(*histories)
def test_the_state_round_trips_and_stays_small(random: Random, length: int) -> None:
    _, states = play_history(random, length)
    for state in states:
        stored = STATE.dump_json(state)
        assert STATE.validate_json(stored) == state
        assert len(state.waiting) <= MAX_WAITING_RUNS
        assert len(stored) <= MAX_STATE + MAX_WAITING * len(state.waiting)


@pytest.mark.slow
@settings(max_examples=200)
@given(*histories)
def test_the_log_is_orderly(random: Random, length: int) -> None:
    world, states = play_history(random, length)
    for problem in find_problems(world.log):
        raise AssertionError(problem)
    for entry, state in zip(world.log, states, strict=True):
        if isinstance(entry.event, e.RunEnd):
            assert state.run is None or state.run.id != entry.event.run_id
            assert entry.event.run_id not in {one.run.id for one in state.waiting}
    assert world.state.run is not None or not world.state.waiting


def test_the_state_does_not_grow_with_the_thread() -> None:
    story = Story()
    story.do(CREATE)
    sizes = []
    for number in range(300):
        story.do(add(id=f"msg_{number}"))
        story.do(run(f"run_{number}", claim(first=str(number))))
        story.do(finish("Hello.", run_id=f"run_{number}"))
        sizes.append(len(STATE.dump_json(story.state)))
    assert sizes[-1] - sizes[0] <= 2  # the digits of a counter


@pytest.mark.slow
def test_histories_are_worth_their_name() -> None:
    """The generator reaches every event type and every end of a run; otherwise the laws above would prove little."""
    seen: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in range(150):
        world, _ = play_history(Random(seed), 60)
        seen.update(entry.event.type for entry in world.log)
        ends.update(world.runs.values())
    from tests.events.test_codec import THREAD_TYPES

    assert set(THREAD_TYPES) <= set(seen)
    assert min(seen[kind] for kind in THREAD_TYPES) >= 5
    assert set(ends) >= TERMINAL
