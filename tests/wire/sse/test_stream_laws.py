"""Laws of every stream of every history, with any part of its deltas. `Watcher` checks every frame."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import RecordedEvent
from events.errors import DomainError
from events.object_changes import imported_run, initial_run, initial_step, run_patch
from events.objects import Run, Step
from events.thread import events as e
from events.thread.commands import (
    BreakModelCall,
    CallIds,
    ClaimRun,
    FinishModelCall,
    FinishToolCall,
    PartialReply,
    StartModelCall,
    StopRun,
)
from events.thread.state import HostedToolCall, RunState
from service.deltas import Delta, MessageTextDelta, StepCallDelta, StepOutputDelta
from service.partial_json import code_of
from service.wire import v1, v2
from service.wire.api import Wire
from service.wire.sse.run_stream import RunStream
from tests.events.thread.histories import World
from tests.wire.sse.stream_rules import Watcher


class Audience:
    """A world with a watcher for each stream of its runs: the first, and one per submission of tool outputs."""

    def __init__(self, random: Random, wire: Wire) -> None:
        self.random = random
        self.wire = wire
        self.world = World(random)
        self.watchers: list[tuple[str, Watcher]] = []
        self.muttered: set[str] = set()
        self._runs: dict[str, Run] = {}
        self._steps: dict[str, Step] = {}

    def play(self, length: int) -> None:
        for _ in range(length):
            command = self.world.next_command()
            run = self.world.state.run
            live = list(self._live(command, run))
            try:
                recorded = self.world.do(command)
            except DomainError:
                continue
            if recorded and isinstance(command, ClaimRun):
                recorded += self._begun_anew()
            self._open_watchers(recorded)
            self._tell(self._mixed(live, recorded) if recorded else [])

    def _begun_anew(self) -> list[RecordedEvent[Any]]:
        """Starts the open model call again, which a process does first when it takes over a run."""
        run = self.world.state.run
        if run is None or run.call is None:
            return []
        made = len(self.world.log)
        return self.world.do(
            StartModelCall(run.id, run.epoch, CallIds(f"msg_n{made}", f"step_m{made}", f"step_t{made}"))
        )

    def _live(self, command: Any, run: RunState | None) -> Iterator[Delta]:
        """Yields deltas of the command's call that watchers see before its event: from none to all."""
        call = run.call if run else None
        if run is not None and run.step is not None and run.step.open is not None:
            yield from self._outputs(command, run.id, run.step.step_id, run.step.open)
        if run is None or call is None or call.broken is not None:
            return
        if isinstance(command, ClaimRun):
            # The process that dies has published a delta that no event will confirm.
            self.muttered |= {call.message_id, call.tool_step_id}
            yield self.random.choice(
                (
                    MessageTextDelta(run.id, call.message_id, call.message_step_id, call.started_at, "Hm"),
                    StepCallDelta(
                        run.id, call.tool_step_id, call.started_at, 0, f"call_{len(self.world.log)}", "f", "{"
                    ),
                )
            )
        elif isinstance(command, FinishModelCall | BreakModelCall | StopRun) and command.epoch == run.epoch:
            pieces = list(_deltas_of(run, command.reply))
            yield from pieces[: self.random.randint(0, len(pieces))]

    def _outputs(self, command: Any, run_id: str, step_id: str, call: HostedToolCall) -> Iterator[Delta]:
        """Yields deltas of a hosted call that watchers see before its end, some of which no event will confirm."""
        ids = (run_id, step_id, call.id, call.attempt)
        if isinstance(command, ClaimRun):
            self.muttered |= {step_id}
            yield StepOutputDelta(*ids, 0, "Hm", None)
        elif isinstance(command, FinishToolCall | StopRun) and command.shown:
            pieces: list[Delta] = []
            for index, output in enumerate(command.shown.get("outputs", ())):
                if output["type"] == "image":
                    pieces.append(StepOutputDelta(*ids, index, None, output["image"]["file_id"]))
                else:
                    pieces += [StepOutputDelta(*ids, index, character, None) for character in output["logs"]]
            yield from pieces[: self.random.randint(0, len(pieces))]

    def _mixed(self, live: list[Delta], recorded: list[RecordedEvent[Any]]) -> list[Any]:
        """Returns events and deltas in order; a random number of deltas is late."""
        late = self.random.randint(0, len(live))
        return [*live[:late], *recorded, *live[late:]]

    def _open_watchers(self, recorded: list[RecordedEvent[Any]]) -> None:
        """Opens the streams that begin with these events, before the events are fed to them."""
        for entry in recorded:
            if isinstance(entry.event, e.RunCreated):
                self.watchers.append((entry.event.run_id, Watcher(RunStream(self.wire))))
            elif isinstance(entry.event, e.ToolOutputsSubmitted):
                run, step = self._runs[entry.event.run_id], self._steps[entry.event.step_id]
                self.watchers.append((run.id, Watcher(RunStream(self.wire, run=run, steps=[step]))))
        for entry in recorded:
            self._fold(entry)

    def _fold(self, entry: RecordedEvent[Any]) -> None:
        if isinstance(entry.event, e.RunCreated):
            self._runs[entry.event.run_id] = initial_run(entry)
        elif isinstance(entry.event, e.RunImported):
            self._runs[entry.event.run_id] = imported_run(entry)
        elif isinstance(entry.event, e.StepCreated):
            self._steps[entry.event.step_id] = initial_step(entry)
        for name, value in (run_patch(entry) or {}).items():
            object.__setattr__(self._runs[entry.event.run_id], name, value)

    def _tell(self, items: list[Any]) -> None:
        for _, watcher in self.watchers:
            watcher.see(items)


def _deltas_of(run: RunState, said: PartialReply) -> Iterator[Delta]:
    """Yields the deltas that an executor publishes of a reply: none of calls if there is text."""
    assert run.call is not None
    call = run.call
    ids = (run.id, call.message_id, call.message_step_id, call.started_at)
    images = tuple(said.images)
    marked = said.annotations[0] if said.annotations else None
    words = said.text[: marked["start_index"]] if marked else said.text
    for character in words:
        yield MessageTextDelta(*ids, character, images=images)
        images = ()
    if marked:
        yield MessageTextDelta(*ids, marked["text"], annotation=dict(marked))
        for character in said.text[marked["end_index"] :]:
            yield MessageTextDelta(*ids, character)
    for character in said.refusal:
        yield MessageTextDelta(*ids, character, True, images=images)
        images = ()
    if said.text or said.refusal:
        return
    for index, one in enumerate(said.tool_calls):
        kind, at = one.get("type", "function"), (run.id, call.tool_step_id, call.started_at, index)
        yield StepCallDelta(*at, one["id"], one["name"], "", kind, one.get("file_search"))
        shown = {"function": one["arguments"], "code_interpreter": code_of(one["arguments"]), "file_search": ""}
        for character in shown[kind]:
            yield StepCallDelta(*at, None, None, character, kind)


@pytest.mark.slow
@pytest.mark.parametrize("wire", [v1.WIRE, v2.WIRE])
@settings(max_examples=100)
@given(random=st.builds(Random, st.integers(0, 2**32)), length=st.integers(1, 80))
def test_every_stream_is_in_order_and_whole(wire: Wire, random: Random, length: int) -> None:
    audience = Audience(random, wire)
    audience.play(length)
    for run_id, watcher in audience.watchers:
        frames = watcher.frames
        assert all(data.get("run_id", run_id) == run_id for _, data in frames[:-1] if isinstance(data, dict))
        for id, ended in watcher.ended.items():
            if ended["object"] == "thread.message" and id not in audience.muttered:
                whole = [part for part in ended["content"] if part["type"] != "text" or part["text"]["value"]]
                told = watcher.content(id)
                assert whole == [_as_stored(part) if wire is v2.WIRE else part for part in told]
            elif ended["object"] == "thread.run.step" and id in watcher.calls and id not in audience.muttered:
                _check_hosted(watcher, ended)
        _check_calls(watcher, audience.muttered)


def _as_stored(part: dict[str, Any]) -> dict[str, Any]:
    """Returns a part that deltas of v2 add up to in its stored form, which has no quotes of citations."""
    if part["type"] != "text":
        return part
    for one in part["text"]["annotations"]:
        assert one["file_citation"].pop("quote") == ""
    return part


def _check_hosted(watcher: Watcher, step: dict[str, Any]) -> None:
    """Checks that the deltas of hosted calls add up to the ended step, except for the results of searches."""
    told = [one for _, one in sorted(watcher.calls[step["id"]].items())]
    calls = step["step_details"]["tool_calls"]
    # A placeholder step that no event confirmed ends without calls.
    for one, call in zip(told, calls, strict=bool(calls)):
        if call["type"] == "file_search":
            call["file_search"]["results"] = []
        if call["type"] != "function":
            assert one == call


def _check_calls(watcher: Watcher, muttered: set[str]) -> None:
    """Checks that the calls in deltas are those that the run requires."""
    if "thread.run.requires_action" not in watcher.names:
        return
    run = watcher.data("thread.run.requires_action")
    wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    for step_id, calls in watcher.calls.items():
        if step_id not in watcher.ended and step_id not in muttered:
            functions = [one for _, one in sorted(calls.items()) if one["type"] == "function"]
            told = [{**one, "function": {**one["function"]}} for one in functions]
            assert [one["function"].pop("output") for one in told] == [None] * len(told)
            assert told == wanted
