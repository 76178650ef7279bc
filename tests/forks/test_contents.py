"""The law of forks: the objects of a fork at version n are those of its origin at version n, with other ids.

Runs that have not ended are cancelled in the fork. Random histories have every event of a thread, and each of their
versions is forked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from events.envelope import RecordedEvent
from events.errors import DomainError, Rejection
from events.event_log import number_events
from events.objects import Message, Run, Step
from events.streams import THREAD
from events.thread import events as e
from events.thread.commands import ImportThread
from events.thread.decide import decide
from events.thread.run_status import TERMINAL
from events.thread.state import ThreadState
from projections.messages import load_message
from projections.runs import load_run
from projections.steps import load_step
from service.forks import contents
from service.forks.contents import copy_thread
from service.forks.points import ForkPoint
from service.replay.past_thread import rows_in_order
from service.replay.stream_fold import StreamFold
from service.replay.time_travel import PastStream
from service.wire.as_of import StreamVersion
from tests.clock import IDS
from tests.events.thread.histories import World
from tests.events.thread.story import ORIGIN

HISTORIES, COMMANDS, SLICE = 12, 40, 2

Objects = list[tuple[str, Message | Run | Step]]


def fold(thread_id: str, log: Sequence[RecordedEvent[Any]], slices: int = SLICE) -> StreamFold:
    found = StreamFold(THREAD, thread_id)
    for start in range(0, len(log), slices):
        found.add(log[start : start + slices])
    return found


def past_of(folded: StreamFold, hidden: frozenset[str] = frozenset()) -> PastStream:
    assert folded.at is not None
    return PastStream(
        id=folded.stream_id,
        at=StreamVersion(folded.version),
        moment=folded.at,
        version=folded.version,
        newest=folded.version,
        state=folded.state,
        tables=folded.rows.tables,
        hidden=hidden,
    )


def objects_of(folded: StreamFold) -> dict[str, list[Any]]:
    tables = folded.rows.tables
    return {
        "messages": [load_message(row) for row in rows_in_order(tables, "messages") if not row["deleted"]],
        "runs": [load_run(row) for row in rows_in_order(tables, "runs")],
        "steps": [load_step(row) for row in rows_in_order(tables, "steps")],
    }


def places_of(folded: StreamFold) -> list[str]:
    """Returns the ids of the messages and of the tool_calls steps, in the order in which prompts have them."""
    tables = folded.rows.tables
    runs = {row["run_id"]: row["position"] for row in tables.rows("runs")}
    found = [
        ((row["position"] if row["place"] is None else row["place"], row["position"]), row["message_id"])
        for row in tables.rows("messages")
        if not row["deleted"]
    ]
    found += [((runs[row["run_id"]], row["position"]), row["step_id"]) for row in tables.rows("steps")]
    return [id for _, id in sorted(found)]


def fork_of(past: PastStream, point: ForkPoint | None = None) -> tuple[StreamFold, dict[str, str]]:
    """Returns the fold of a fork, and the ids of its objects by those of the origin."""
    at = past.moment
    found = copy_thread(past, point or ForkPoint(past.at), at, ORIGIN, IDS)
    origin = e.ThreadOrigin(thread_id=past.id, version=past.version)
    command = ImportThread(found.metadata, found.tool_resources, origin, found.objects)
    events = decide(ThreadState("thread_fork"), command, at)
    return fold("thread_fork", number_events("thread_fork", 0, events, at, ORIGIN)), found.ids


def expected_of(folded: StreamFold, ids: dict[str, str]) -> dict[str, list[Any]]:
    """Returns the objects of the origin with the ids of the fork."""
    found = objects_of(folded)
    new = {"thread_id": "thread_fork"}
    return {
        "messages": [
            replace(one, **new, id=ids[one.id], run_id=None if one.run_id is None else ids[one.run_id])
            for one in found["messages"]
        ],
        "runs": [replace(one, **new, id=ids[one.id]) for one in found["runs"]],
        "steps": [
            replace(
                one,
                **new,
                id=ids[one.id],
                run_id=ids[one.run_id],
                message_id=None if one.message_id is None else ids[one.message_id],
            )
            for one in found["steps"]
        ],
    }


def play(seed: int) -> World:
    world = World(Random(seed))
    for _ in range(COMMANDS):
        try:
            world.do(world.next_command())
        except DomainError:
            continue
    return world


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_fork_at_each_version_has_the_objects_of_its_origin(seed: int) -> None:
    world = play(seed)
    for version in range(1, len(world.log) + 1):
        origin = fold(world.state.id, world.log[:version])
        if not origin.rows.tables["threads"]:
            continue
        fork, ids = fork_of(past_of(origin))
        found, expected = objects_of(fork), expected_of(origin, ids)
        assert found["messages"] == expected["messages"]
        for name in ("runs", "steps"):
            for one, other in zip(found[name], expected[name], strict=True):
                if other.status in TERMINAL:
                    assert one == other
                else:
                    assert one.status == "cancelled"
        assert [ids[id] for id in places_of(origin)] == places_of(fork)
        assert fork.state.run is None
        assert fork.state.waiting == ()
        assert fork.state.user_messages == origin.state.user_messages
        assert fork.state.tool_calls == origin.state.tool_calls
        # A fork of the fork is equal as well.
        again, again_ids = fork_of(replace(past_of(fork), id="thread_fork"))
        assert objects_of(again) == expected_of(fork, again_ids)


def test_the_point_before_a_run_has_what_the_run_read() -> None:
    """The run waited for its turn: it reads the answer of the run ahead of it, which was written after its creation."""
    compared = 0
    for seed in range(60):
        world = play(seed)
        admitted = {one.event.run_id: one.version for one in world.log if isinstance(one.event, e.RunAdmitted)}
        created = {one.event.run_id: one.version for one in world.log if isinstance(one.event, e.RunCreated)}
        for run_id, position in created.items():
            version = admitted.get(run_id, position) - 1
            origin = fold(world.state.id, world.log[:version]) if version else None
            if origin is None or not origin.rows.tables["threads"]:
                continue
            point = ForkPoint(StreamVersion(version), before=position)
            fork, ids = fork_of(past_of(origin), point)
            rows = origin.rows.tables.rows("messages")
            read = [row for row in rows if not row["deleted"] and (row["place"] or row["position"]) <= position]
            assert {ids[row["message_id"]] for row in read} == {one.id for one in objects_of(fork)["messages"]}
            assert run_id not in ids
            compared += run_id in admitted
    assert compared > 10


def test_hidden_messages_are_left_out() -> None:
    world = play(3)
    origin = fold(world.state.id, world.log[:20])
    [first, *others] = objects_of(origin)["messages"]
    fork, _ = fork_of(past_of(origin, frozenset({first.id})))
    assert len(objects_of(fork)["messages"]) == len(others)


def test_a_thread_with_too_many_objects_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = next(found for seed in range(100) if (found := play(seed)).state.exists and len(found.messages) > 2)
    monkeypatch.setattr(contents, "MAX_OBJECTS", 2)
    with pytest.raises(Rejection, match="more than 2 messages, runs and steps"):
        fork_of(past_of(fold(world.state.id, world.log)))
