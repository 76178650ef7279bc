"""Checks the recorded history of a thread against today's software: also `plan` and the prompts of its runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from events.streams import THREAD, StreamType
from events.thread import events as e
from events.thread.commands import ThreadCommand
from events.thread.state import ThreadState
from service.replay.call_prompts import PromptFold
from service.replay.check_commands import ThreadInversion
from service.replay.check_plan import plan_deviation, rest_deviation
from service.replay.check_prompt import UNCHECKED, PromptDeviation, has_prompt, prompt_deviation
from service.replay.check_stream import ReplayCheck, error_text
from service.replay.deviations import Deviation, LoggedEvent
from service.runs.executor import last_journaled_call
from service.runs.plan import JournaledCall
from service.tools.base import CrashPolicy

# Bytes of a thread's history above which its prompts are not rendered again: each call renders the whole history.
MAX_PROMPT_BYTES = 16 * 1024**2


class ThreadReplayCheck(ReplayCheck[ThreadState, ThreadCommand]):
    """The check of a thread. `after_crash` returns the policy of a type of hosted tool."""

    def __init__(
        self,
        thread_id: str,
        after_crash: Callable[[str], CrashPolicy],
        stream_type: StreamType[ThreadState, ThreadCommand] = THREAD,
    ) -> None:
        super().__init__(stream_type, thread_id, ThreadInversion())
        self._after_crash = after_crash
        self._own_call: JournaledCall | None = None
        self._prompts: PromptFold | None = PromptFold()
        # The time of the last append that has events of the active run.
        self._run_at: datetime | None = None

    def _check_plan(self, append: Sequence[LoggedEvent], command: ThreadCommand) -> Iterator[Deviation]:
        run, first = self.state.run, append[0].recorded
        if run is None:
            return
        try:
            today = plan_deviation(
                run,
                command,
                own_call=self._own_call,
                since=self._run_at or first.at,
                at=first.at,
                after_crash=self._after_crash,
            )
        except Exception as error:  # noqa: BLE001 – a report of its own
            today = f"raises {error_text(error)}"
        if today is not None:
            yield Deviation.at_event("plan", first, f"{type(command).__name__} led to it", today)

    def _end_event(self, logged: LoggedEvent) -> Iterator[Deviation]:
        recorded = logged.recorded
        if self._prompts is None:
            self.unchecked_prompts += has_prompt(recorded.event)
            return
        call = self._prompts.add(recorded, self.state)
        if self._prompts.bytes > MAX_PROMPT_BYTES:
            self._prompts = None
        if call is None or call.record is None:
            return
        try:
            today = prompt_deviation(call, call.record, logged.request)
        except Exception as error:  # noqa: BLE001 – a report of its own
            today = PromptDeviation(f"raises {error_text(error)}")
        self.prompts += today != UNCHECKED
        self.unchecked_prompts += today == UNCHECKED
        if isinstance(today, PromptDeviation):
            sent = f"a request of {call.record.bytes:,} bytes with the SHA-256 {call.record.sha256}"
            yield Deviation.at_event("prompt", recorded, sent, today.today, today.diff)

    def _end_append(self, append: Sequence[LoggedEvent]) -> Iterator[Deviation]:
        run, last = self.state.run, append[-1].recorded
        self._note_calls([logged.recorded.event for logged in append])
        if run is None or not any(getattr(one.recorded.event, "run_id", None) == run.id for one in append):
            return
        self._run_at = last.at
        try:
            today = rest_deviation(run, at=last.at, after_crash=self._after_crash)
        except Exception as error:  # noqa: BLE001 – a report of its own
            today = f"raises {error_text(error)}"
        if today is not None:
            yield Deviation.at_event("plan", last, "the run waited for its client", today)

    def _note_calls(self, events: Sequence[e.ThreadEvent]) -> None:
        """Notes the call that the executor has journaled last. After a claim, only those of its append count."""
        journaled = last_journaled_call(events)
        if journaled is not None or any(isinstance(event, e.RunClaimed) for event in events):
            self._own_call = journaled
