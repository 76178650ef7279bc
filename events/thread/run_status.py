"""The legal transitions of a run's status, as a table. `evolve` refuses any other, so no log can hold one.

queued           created, or its tool outputs were submitted; waits for a process
in_progress      a process works on it
requires_action  waits for the client's tool outputs
cancelling       a client cancelled it; a process stops its work
the others       terminal: the thread is unlocked
"""

from __future__ import annotations

from events.objects import RunStatus

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    "queued": frozenset({"in_progress", "cancelling", "failed", "expired"}),
    "in_progress": frozenset({"requires_action", "cancelling", "completed", "failed", "incomplete", "expired"}),
    "requires_action": frozenset({"queued", "cancelling", "expired"}),
    "cancelling": frozenset({"cancelled", "expired"}),
    "cancelled": frozenset(),
    "failed": frozenset(),
    "completed": frozenset(),
    "incomplete": frozenset(),
    "expired": frozenset(),
}

TERMINAL: frozenset[RunStatus] = frozenset(status for status, nexts in TRANSITIONS.items() if not nexts)
ACTIVE: frozenset[RunStatus] = frozenset(TRANSITIONS) - TERMINAL


class IllegalTransition(Exception):
    """No command can lead to this transition: the software has a bug, or the log was changed."""

    def __init__(self, run_id: str, old: RunStatus, new: RunStatus) -> None:
        super().__init__(f"run {run_id}: {old} → {new}")


def transition(run_id: str, old: RunStatus, new: RunStatus) -> RunStatus:
    """Returns `new` if the table allows it from `old`. Raises IllegalTransition otherwise."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(run_id, old, new)
    return new
