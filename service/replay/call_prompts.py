"""Collects the facts from which the requests of a thread's model calls were rendered, from its events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from events.envelope import RecordedEvent
from events.object_changes import initial_run
from events.objects import Run
from events.thread import events as e
from events.thread.state import ThreadState
from service.runs.history_cache import History, Placed, newest_entries

CallEnd = e.ModelCallFinished | e.ModelCallFailed | e.ModelCallStopped


@dataclass(slots=True, kw_only=True)
class CallPrompt:
    """An attempt at a model call, with the facts of its prompt.

    `placed` are the entries that the run could read at `version`, that of the event `model_call.started`, without those
    that its truncation strategy leaves out; `left_out` counts those. `deleted` has the versions at which messages among
    them were deleted, by message id. `spent` are the tokens of the run before the call. `record` is null if the request
    was not recorded.
    """

    run: Run
    call: int
    attempt: int
    version: int
    spent: e.Usage
    placed: Sequence[Placed]
    left_out: int
    deleted: dict[str, int] = field(default_factory=dict)
    record: e.PromptRecord | None = None


class PromptFold:
    """Folds the events of a thread into the prompts of its model calls.

    Call `add` with each event and the state after it, in order. `open` is the attempt that has started and not ended.
    """

    def __init__(self) -> None:
        self.open: CallPrompt | None = None
        self._history = History(version=0, window=None)
        self._runs: dict[str, Run] = {}

    @property
    def bytes(self) -> int:
        """An estimate of the memory that the thread's history takes."""
        return self._history.estimate_bytes()

    def add(self, recorded: RecordedEvent[e.ThreadEvent], state: ThreadState) -> CallPrompt | None:
        """Returns the attempt that the event ends, if it ends one."""
        event = recorded.event
        self._history.add([recorded])
        if isinstance(event, e.RunCreated):
            self._runs[event.run_id] = initial_run(recorded)  # type: ignore[arg-type]
        elif isinstance(event, e.MessageDeleted) and self.open is not None:
            self.open.deleted[event.message_id] = recorded.version
        elif isinstance(event, e.ModelCallStarted):
            self.open = self._start(recorded, event, state)
        elif isinstance(event, e.RunEnd):
            self._runs.pop(event.run_id, None)
        elif isinstance(event, CallEnd) and self.open is not None:
            ended, self.open = self.open, None
            ended.record = event.prompt
            return ended
        return None

    def _start(self, recorded: RecordedEvent[Any], event: e.ModelCallStarted, state: ThreadState) -> CallPrompt | None:
        if state.run is None or state.run.id != event.run_id:
            return None
        run = self._runs[event.run_id]
        readable = placed = self._history.before(state.run.position)
        if run.truncation_strategy["type"] == "last_messages":
            placed = newest_entries(readable, run.id, run.truncation_strategy["last_messages"])
        return CallPrompt(
            run=run,
            call=event.call,
            attempt=event.attempt,
            version=recorded.version,
            spent=state.run.usage,
            placed=placed,
            left_out=len(readable) - len(placed),
        )
