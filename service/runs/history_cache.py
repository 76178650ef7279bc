"""The histories of threads that this process keeps for prompts. The next prompt of a thread reads newer events only.

A history is changed by the same functions as the views (`events.object_changes`), so both hold the same objects.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from events.envelope import RecordedEvent
from events.object_changes import (
    client_message,
    imported_message,
    imported_step,
    initial_step,
    merge_step_fields,
    run_message,
    step_patch,
)
from events.objects import Message, Run, Step
from events.thread import events as e
from projections.rows import PromptPosition
from service.runs.history_size import CHARACTERS_PER_TOKEN, entry_bytes, entry_length

# Bytes of all kept histories together, by an estimate.
MAX_BYTES = 16 * 1024**2
# Estimates of the memory of a history and of a run's position.
_HISTORY_BYTES = 1_000
_RUN_BYTES = 200
# Types of the events that change a history.
TYPES = (
    "run.created",
    "message.added",
    "message.imported",
    "message.written",
    "message.deleted",
    "step.created",
    "step.imported",
    "step.ended",
    "tool_outputs.submitted",
    "tool_call.finished",
    "tool_call.stopped",
    "thread.deleted",
)


# Events that change no history. Prompts read no message steps.
_Ignored = (
    e.LifeEvent
    | e.RunImported
    | e.StepImported
    | e.MessageModified
    | e.RunEvent
    | e.StepCreated
    | e.ModelCallEvent
    | e.ToolCallStarted
)
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
    # Estimates of the memory of the entries by id, each computed once, and their sum.
    bytes_of: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

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
        """Applies events in order, with all of TYPES that follow `version`. To apply one twice changes nothing."""
        for entry in recorded:
            self._apply(entry)
            self.version = entry.version

    def estimate_bytes(self) -> int:
        """Returns an estimate of the memory that the history takes."""
        return _HISTORY_BYTES + _RUN_BYTES * len(self.runs) + self.bytes

    def before(self, position: int) -> list[Placed]:
        """Returns what a run at this position may read, in order."""
        return sorted((placed for placed in self.entries.values() if placed[0][0] <= position), key=_place)

    def _apply(self, recorded: RecordedEvent[e.ThreadEvent]) -> None:
        match recorded.event:
            case e.RunCreated(run_id=run_id):
                self.runs[run_id] = recorded.version
            case e.MessageAdded():
                self._put(((recorded.version, recorded.version), client_message(recorded)))  # type: ignore[arg-type]
            case e.MessageImported(run_distance=distance):
                place = recorded.version - (distance or 0)
                self._put(((place, recorded.version), imported_message(recorded)))  # type: ignore[arg-type]
            case e.StepImported(kind="tool_calls", run_distance=distance):
                place = recorded.version - distance
                self._put(((place, recorded.version), imported_step(recorded)))  # type: ignore[arg-type]
            case e.MessageWritten(run_id=run_id):
                self._put_of_run(run_id, recorded, run_message)
            case e.MessageDeleted(message_id=message_id):
                if self.window is not None and self._is_first(message_id):
                    self.window = 0  # the message after it was not read
                self._remove(message_id)
            case e.StepCreated(kind="tool_calls", run_id=run_id):
                self._put_of_run(run_id, recorded, initial_step)
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped() as change:
                self._change_step(change)
            case e.ThreadDeleted():
                self.entries.clear()
                self.bytes_of.clear()
                self.characters = self.bytes = 0
            case _:
                _ignored: _Ignored = recorded.event

    def _put_of_run(
        self, run_id: str, recorded: RecordedEvent[Any], create: Callable[[RecordedEvent[Any]], Message | Step]
    ) -> None:
        """Adds an entry of a run.

        A run that is unknown was created before the history was read for a later run, so it had ended then: its entries
        were read, or they were deleted.
        """
        if run_id in self.runs:
            self._put(((self.runs[run_id], recorded.version), create(recorded)))

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

    def _is_first(self, id: str) -> bool:
        return id in self.entries and self.entries[id][0] == min(map(_place, self.entries.values()))

    def _put(self, placed: Placed) -> None:
        self._remove(placed[1].id)
        self.entries[placed[1].id] = placed
        self.characters += entry_length(placed[1])
        self.bytes_of[placed[1].id] = size = entry_bytes(placed[1])
        self.bytes += size

    def _remove(self, id: str) -> None:
        found = self.entries.pop(id, None)
        if found is not None:
            self.characters -= entry_length(found[1])
            self.bytes -= self.bytes_of.pop(id)


_place: Callable[[Placed], PromptPosition] = itemgetter(0)


def newest_entries(found: Sequence[Placed], run_id: str, count: int) -> list[Placed]:
    """Returns the newest `count` messages of others than the run, its own ones, and the tool_calls steps from the
    oldest of these on. `found` is in order.
    """
    kept, others = list[Placed](), 0
    for placed in reversed(found):
        if isinstance(placed[1], Message):
            if others == count:
                break
            kept.append(placed)
            others += placed[1].run_id != run_id
    oldest = min(map(_place, kept), default=(0, 0))
    kept += [placed for placed in found if isinstance(placed[1], Step) and placed[0] >= oldest]
    return sorted(kept, key=_place)


class HistoryCache:
    """A bounded cache of histories by thread. If it is full, the history that was not used for longest is dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._histories: OrderedDict[str, tuple[int, History]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._histories)

    def find(self, thread_id: str) -> History | None:
        """Returns the history of a thread."""
        return self._histories.get(thread_id, (0, None))[1]

    def take(self, thread_id: str) -> History | None:
        """Removes and returns the history of a thread. Its user puts it back when it is up to date."""
        size, history = self._histories.pop(thread_id, (0, None))
        self.bytes -= size
        return history

    def put(self, thread_id: str, history: History) -> None:
        """Adds the history of a thread, or replaces it."""
        self.take(thread_id)
        size = history.estimate_bytes()
        self._histories[thread_id] = size, history
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, (dropped, _) = self._histories.popitem(last=False)
            self.bytes -= dropped
