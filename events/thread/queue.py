"""The runs that wait for other runs of their thread: their number, their end, and whose turn is next.

Runs work one after the other, in the order in which they were created. A run reads what clients had said before it was
created, and what earlier runs answered; later messages are for later runs. So messages need no queue of their own:
their versions determine which run reads them (`projections.messages.newest_messages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from events.errors import Rejection
from events.thread import events as e
from events.thread.commands import CancelRun, CreateRun, ExpireRun, ThreadCommand
from events.thread.endings import end_early
from events.thread.state import ThreadState, WaitingRun

# Runs that may wait in one thread: a bound on the size of the state, which every append writes.
MAX_WAITING_RUNS = 10


def require_room(state: ThreadState) -> None:
    """Raises Rejection if as many runs wait as may."""
    if len(state.waiting) >= MAX_WAITING_RUNS:
        raise Rejection(
            f"Thread {state.id} has {MAX_WAITING_RUNS} runs waiting behind its active run already, and may not have"
            " more. Please try again when one of them has begun.",
            code="thread_queue_full",
        )


def cancel_waiting(waiting: WaitingRun, at: datetime) -> list[e.ThreadEvent]:
    """Ends a run that waits; it has no calls to stop."""
    return end_early(waiting.run, "cancelled", at)


def admit_next_run(
    state: ThreadState, events: Sequence[e.ThreadEvent], command: ThreadCommand, at: datetime
) -> list[e.ThreadEvent]:
    """Returns the events that admit the next waiting run, if `events` end the active run; else none.

    They are part of the same append, so that no crash loses the turn. The process that held the ended run claims the
    next one. If no process held it, `command` may contain a claim; otherwise the run waits for a supervisor's scan, as
    any run does.
    """
    if state.run is None or not state.waiting or isinstance(events[-1] if events else None, e.ThreadDeleted):
        return []
    if isinstance(command, CreateRun):  # it has admitted its own run
        return []
    if not any(isinstance(event, e.RunEnd) and event.run_id == state.run.id for event in events):
        return []
    first = state.waiting[0]
    admitted = e.RunAdmitted(run_id=first.run.id, expires_at=int(at.timestamp()) + first.lifetime)
    process = _process(state, command)
    if process is None:
        return [admitted]
    return [admitted, e.RunClaimed(run_id=first.run.id, epoch=first.run.epoch + 1, process=process)]


def _process(state: ThreadState, command: ThreadCommand) -> int | None:
    match command:
        case CancelRun(claim=claim) | ExpireRun(claim=claim):
            return claim.process if claim is not None else None
        case _:
            return state.run.process if state.run is not None else None
