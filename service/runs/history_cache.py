"""The histories of threads that this process has read for prompts. The next prompt of a thread reads newer events only.

A history is changed by the same functions as the views (`events.object_changes`), so both hold the same objects.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from events.envelope import RecordedEvent
from events.object_changes import client_message, initial_step, merge_step_fields, run_message, step_patch
from events.objects import Message, Run, Step
from events.thread import events as e
from projections.rows import PromptPosition
from service.runs.history_size import CHARACTERS_PER_TOKEN, entry_length

# Characters of all kept histories together.
MAX_CHARACTERS = 4 * 1024**2
# Types of the events that change a history.
TYPES = (
    "run.created",
    "message.added",
    "message.written",
    "message.deleted",
    "step.created",
    "step.ended",
    "tool_outputs.submitted",
    "tool_call.finished",
    "tool_call.stopped",
    "thread.deleted",
)


class UnknownRun(Exception):
    """The position of a run is unknown."""


# Events that change no history. Prompts read no message steps.
_Ignored = e.LifeEvent | e.MessageModified | e.RunEvent | e.StepCreated | e.ModelCallEvent | e.ToolCallStarted
_StepChange = e.StepEnded | e.ToolOutputsSubmitted | e.ToolCallFinished | e.ToolCallStopped
Placed = tuple[PromptPosition, Message | Step]


@dataclass(slots=True)
class History:
    """The entries of a thread by id, as of `version`.

    They are all entries if `window` is null, or else the newest ones, enough for a window of so many tokens, and the
    first message.
    """

    version: int
    window: int | None
    entries: dict[str, Placed] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    characters: int = 0

    @classmethod
    def of(cls, run: Run, position: int, window: int | None, found: Iterable[Placed]) -> History:
        """Returns the history that was read for a run. The run's position is that of its first event.

        What clients added behind the position was not read, and what was read has all events up to it.
        """
        history = cls(position, window, runs={run.id: position})
        for placed in found:
            history._put(placed)
        return history

    def covers(self, window: int) -> bool:
        """Whether the history is enough for a window of so many tokens, and not much more."""
        limit = window * CHARACTERS_PER_TOKEN
        if self.characters > 2 * limit:
            return False
        return self.window is None or (self.window >= window and self.characters > limit)

    def add(self, recorded: Sequence[RecordedEvent[Any]]) -> None:
        """Applies events of TYPES, all that follow `version`, in order. To apply an event twice changes nothing.

        Raises UnknownRun if an entry is of a run that this history does not know; then it must be read again.
        """
        for entry in recorded:
            self._apply(entry)
            self.version = entry.version

    def before(self, position: int) -> list[Placed]:
        """Returns what a run at this position may read, in order."""
        return sorted((placed for placed in self.entries.values() if placed[0][0] <= position), key=_place)

    def _apply(self, recorded: RecordedEvent[e.ThreadEvent]) -> None:
        match recorded.event:
            case e.RunCreated(run_id=run_id):
                self.runs[run_id] = recorded.version
            case e.MessageAdded():
                self._put(((recorded.version, recorded.version), client_message(recorded)))  # type: ignore[arg-type]
            case e.MessageWritten(run_id=run_id, message_id=id):
                self._put_of_run(run_id, id, recorded, run_message)
            case e.MessageDeleted(message_id=message_id):
                self._remove(message_id)
            case e.StepCreated(kind="tool_calls", run_id=run_id, step_id=id):
                self._put_of_run(run_id, id, recorded, initial_step)
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped() as change:
                self._change_step(change)
            case e.ThreadDeleted():
                self.entries.clear()
                self.characters = 0
            case _:
                _ignored: _Ignored = recorded.event

    def _put_of_run(
        self, run_id: str, id: str, recorded: RecordedEvent[Any], create: Callable[[RecordedEvent[Any]], Message | Step]
    ) -> None:
        """Adds an entry of a run. The entries of earlier runs, whose positions are unknown, were read before."""
        if run_id in self.runs:
            self._put(((self.runs[run_id], recorded.version), create(recorded)))
        elif id not in self.entries:
            raise UnknownRun(run_id)

    def _change_step(
        self, event: e.StepEnded | e.ToolOutputsSubmitted | e.ToolCallFinished | e.ToolCallStopped
    ) -> None:
        found = self.entries.get(event.step_id)
        if found is None:
            return
        place, step = found
        if isinstance(step, Step):
            merged = merge_step_fields({"results": step.results}, step_patch(event) or {})
            self._put((place, replace(step, **merged)))

    def _put(self, placed: Placed) -> None:
        self._remove(placed[1].id)
        self.entries[placed[1].id] = placed
        self.characters += entry_length(placed[1])

    def _remove(self, id: str) -> None:
        found = self.entries.pop(id, None)
        if found is not None:
            self.characters -= entry_length(found[1])


def _place(placed: Placed) -> PromptPosition:
    return placed[0]


class HistoryCache:
    """A bounded cache of histories by thread. If it is full, the history that was not used for longest is dropped."""

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self.characters = 0
        self._max_characters = max_characters
        self._histories: OrderedDict[str, tuple[int, History]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._histories)

    def take(self, thread_id: str) -> History | None:
        """Removes and returns the history of a thread. Its user puts it back when it is up to date."""
        size, history = self._histories.pop(thread_id, (0, None))
        self.characters -= size
        return history

    def put(self, thread_id: str, history: History) -> None:
        self.take(thread_id)
        self._histories[thread_id] = history.characters, history
        self.characters += history.characters
        while self.characters > self._max_characters:
            _, (size, _) = self._histories.popitem(last=False)
            self.characters -= size
