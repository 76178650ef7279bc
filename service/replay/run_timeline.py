"""The timeline of a run: its events, and after each append the action that `plan` chooses. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from events.envelope import RecordedEvent
from events.errors import Rejection
from events.thread import events as e
from events.thread.state import RunState, ThreadState, evolve
from service.replay.call_prompts import CallPrompt, PromptFold
from service.replay.deletions import hide_body, hide_message
from service.replay.event_texts import describe_action, describe_event
from service.runs.plan import Action, JournaledCall, plan
from service.tools.base import CrashPolicy

# Bytes of the messages and steps of a thread that a timeline keeps in memory for its prompts.
MAX_HISTORY_BYTES = 256 * 1024**2
_Failures = e.ModelCallFailed | e.RunFailed | e.RunExpired | e.RunIncomplete


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """An event of a run.

    `gap_s` are the seconds since the event before, 0 for the first. `summary` is one line. `action` is the action that
    `plan` chose on the state after the append that ends with this event, None if the append goes on or the run has
    ended. `is_failure` if something failed here: a call, a tool, the run, or the process that worked on it.

    If the event ends an attempt at a model call, `call` has the facts of its prompt, and `answer` the rest of the
    append, which holds the model's answer. `hidden` are the ids of deleted messages whose contents are left out.
    `state` is that of the run after the append, null if it waits for other runs or has ended. `history_bytes` is an
    estimate of the bytes of the thread's history after the append.
    """

    recorded: RecordedEvent[Any]
    gap_s: float
    summary: str
    action: Action | None
    is_failure: bool
    call: CallPrompt | None = None
    answer: tuple[e.ThreadEvent, ...] = ()
    hidden: frozenset[str] = frozenset()
    state: RunState | None = None
    history_bytes: int = 0

    @property
    def action_text(self) -> str | None:
        return None if self.action is None else describe_action(self.action)


class RunTimeline:
    """Folds the events of a thread into the timeline of one of its runs. Call `add` with all events, in order.

    `hidden` are the ids of messages whose contents entries leave out. `add` raises Rejection if the thread's history
    exceeds MAX_HISTORY_BYTES.
    """

    def __init__(self, thread_id: str, run_id: str, after_crash: Callable[[str], CrashPolicy]) -> None:
        self.run_id = run_id
        self.state = ThreadState(thread_id)
        self.has_ended = False
        self.hidden: frozenset[str] = frozenset()
        self.prompts = PromptFold()
        self._after_crash = after_crash
        self._last_at: datetime | None = None
        self._own_call: JournaledCall | None = None
        self._process: int | None = None

    @property
    def open_call(self) -> CallPrompt | None:
        """The run's attempt at a model call that has started and not ended."""
        call = self.prompts.open
        return call if call is not None and call.run.id == self.run_id and not self.has_ended else None

    def add(self, batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> Iterator[TimelineEntry]:
        """Yields the entries of the run among the next events. A batch must end where an append ends."""
        for append in appends_of(batch):
            yield from self._add_append(append)

    def _add_append(self, append: Sequence[RecordedEvent[e.ThreadEvent]]) -> Iterator[TimelineEntry]:
        own = [recorded for recorded in append if getattr(recorded.event, "run_id", None) == self.run_id]
        takeovers, calls = dict[int, int](), dict[int, CallPrompt]()
        for recorded in append:
            if (dead := self._dead_process(recorded.event)) is not None:
                takeovers[recorded.version] = dead
            self.state = evolve(self.state, recorded)
            call = self.prompts.add(recorded, self.state)
            if call is not None:
                calls[recorded.version] = call
        history_bytes = self.prompts.bytes
        if history_bytes > MAX_HISTORY_BYTES:
            message = f"The history of the thread has more than {MAX_HISTORY_BYTES} bytes: its runs cannot be replayed."
            raise Rejection(message, code="history_too_large")
        self._note_calls(own)
        action = self._plan(append[-1].at) if own else None
        state = self.state.run if self.state.run is not None and self.state.run.id == self.run_id else None
        for recorded in own:
            gap = 0.0 if self._last_at is None else (recorded.at - self._last_at).total_seconds()
            self._last_at = recorded.at
            shown, dead = hide_message(recorded, self.hidden), takeovers.get(recorded.version)
            call = calls.get(recorded.version)
            if call is not None and not self.hidden.isdisjoint(entry.id for _, entry in call.placed):
                shown = hide_body(shown)
            answer = tuple(hide_message(other, self.hidden) for other in own) if call is not None else ()
            yield TimelineEntry(
                recorded=replace(recorded, event=shown),
                gap_s=gap,
                summary=describe_event(shown) + ("" if dead is None else f", taken over from process {dead}"),
                action=action if recorded is own[-1] else None,
                is_failure=dead is not None or is_failure(shown),
                call=call,
                answer=answer,
                hidden=self.hidden,
                state=state,
                history_bytes=history_bytes,
            )

    def _dead_process(self, event: e.ThreadEvent) -> int | None:
        """Returns the process that worked on the run if the event is the claim of another one, or else None."""
        run = self.state.run
        if not isinstance(event, e.RunClaimed) or event.run_id != self.run_id or run is None:
            return None
        return None if run.process == event.process else run.process

    def _note_calls(self, own: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
        """Notes the call that the executor of the run has journaled last. Another executor has journaled none."""
        for recorded in own:
            event = recorded.event
            if isinstance(event, e.RunClaimed):
                self._own_call = None
            elif isinstance(event, e.ModelCallStarted):
                self._own_call = (event.call, event.attempt)
            elif isinstance(event, e.ToolCallStarted):
                self._own_call = (event.call_id, event.attempt)
            elif isinstance(event, e.RunEnd | e.RunImported):
                self.has_ended = True

    def _plan(self, at: datetime) -> Action | None:
        run = self.state.run
        if run is None or run.id != self.run_id:
            return None
        return plan(run, own_call=self._own_call, missing=[], at=at.timestamp(), after_crash=self._after_crash)


def appends_of(
    batch: Iterable[RecordedEvent[e.ThreadEvent]],
) -> Iterator[list[RecordedEvent[e.ThreadEvent]]]:
    """Yields the events in the groups that one append has: those with the same time and origin."""
    for _, group in groupby(batch, key=lambda recorded: (recorded.at, recorded.actor, recorded.request_id)):
        yield list(group)


def is_failure(event: e.ThreadEvent) -> bool:
    """Whether the event says that something failed."""
    if isinstance(event, e.ToolCallFinished):
        return event.outcome in ("failed", "lost")
    if isinstance(event, e.StepEnded):
        return event.status in ("failed", "expired")
    return isinstance(event, _Failures)
