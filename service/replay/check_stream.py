"""Checks the recorded history of a stream against today's software: `decide` and `evolve`. Pure.

Each append is decided again: the command that led to it is found from its events, and must lead to the same events on
the state before them. The log does not hold the ends of appends. They are found by the time and the origin of events;
two appends with the same ones are parted where `decide` leads to the first of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

from events.envelope import RecordedEvent
from events.errors import DomainError
from events.software_version import SOFTWARE_VERSION
from events.streams import StreamType
from service.replay.deviations import Deviation, EventComparison, LoggedEvent, compare_events

_NO_COMMAND = "no command begins with this event"
S = TypeVar("S")
C = TypeVar("C")


class Inversion(Protocol[S, C]):  # type: ignore[misc]
    """Finds the commands that may have led to events, with the facts of the events before them."""

    def commands(self, state: S, events: Sequence[Any], at: datetime, /) -> Sequence[C]:
        """Returns the commands that may have led to the events, the likeliest first; none if no command does.

        `state` is that before the events, and `at` is their time.
        """
        ...

    def add(self, recorded: RecordedEvent[Any], /) -> None:
        """Applies an event to the facts."""
        ...


@dataclass(frozen=True, slots=True)
class _Trial(Generic[C]):
    """A command that was decided again, and the comparison of its events; `command` is None if there is none."""

    command: C | None
    comparison: EventComparison

    @property
    def is_equal(self) -> bool:
        return self.command is not None and self.comparison.place is None


class ReplayCheck(Generic[S, C]):
    """Folds the history of a stream and compares it with today's software. Call `add` with its events, in order.

    `newer_fields` counts the fields that today's events have and the recorded ones do not, since older software wrote
    them. `is_broken` if the rest of the history cannot be checked, because `evolve` raised. `prompts` counts the
    recorded requests of model calls that were rendered again, and `unchecked_prompts` those that cannot be compared.
    """

    def __init__(self, stream_type: StreamType[S, C], stream_id: str, inversion: Inversion[S, C]) -> None:
        self.state: S = stream_type.initial(stream_id)
        self.newer_fields: Counter[str] = Counter()
        self.is_broken = False
        self.prompts = self.unchecked_prompts = 0
        self._type = stream_type
        self._inversion = inversion

    def add(self, group: Sequence[LoggedEvent]) -> Iterator[Deviation]:
        """Yields the deviations in the next events, which have the same time and origin (`groups_of`)."""
        rest = list(group)
        while rest and not self.is_broken:
            whole = trial = self._try(rest)
            end = len(rest)
            while not trial.is_equal and end > 1:
                end -= 1
                trial = self._try(rest[:end])
            if trial.is_equal:
                self.newer_fields.update(trial.comparison.newer_fields)
            else:
                end, trial = len(rest), whole
                event = rest[min(trial.comparison.place or 0, end - 1)].recorded
                yield Deviation.at_event("decide", event, trial.comparison.recorded, trial.comparison.today)
            append, rest = rest[:end], rest[end:]
            if trial.command is not None:
                yield from self._check_plan(append, trial.command)
            yield from self._fold(append)

    @property
    def state_hash(self) -> str:
        """The hash of the state after the last event."""
        return hash_state(self._type, self.state)

    def _check_plan(self, append: Sequence[LoggedEvent], command: C) -> Iterable[Deviation]:
        """Yields the deviations of the plan that led to an append. Streams other than threads have no plan."""
        return ()

    def _end_event(self, logged: LoggedEvent) -> Iterable[Deviation]:
        """Yields the deviations on the state after an event."""
        return ()

    def _end_append(self, append: Sequence[LoggedEvent]) -> Iterable[Deviation]:
        """Yields the deviations on the state after an append."""
        return ()

    def _try(self, append: Sequence[LoggedEvent]) -> _Trial[C]:
        """Decides the append again. Returns the trial of the first command that leads to the same events, or else that
        of the command whose events differ last.
        """
        events, at = [logged.recorded.event for logged in append], append[0].recorded.at
        trials: list[_Trial[C]] = []
        for command in self._inversion.commands(self.state, events, at):
            trial = self._decide(command, append, events, at)
            if trial.is_equal:
                return trial
            trials.append(trial)
        unknown: _Trial[C] = _Trial(None, EventComparison(0, events[0].type, _NO_COMMAND))
        return max(trials, key=lambda trial: trial.comparison.place or 0, default=unknown)

    def _decide(self, command: C, append: Sequence[LoggedEvent], events: Sequence[Any], at: datetime) -> _Trial[C]:
        try:
            today = self._type.decide(self.state, command, at)
        except DomainError as error:
            text = f"{type(command).__name__} is refused: {error.message}"
            return _Trial(command, EventComparison(0, events[0].type, text))
        except Exception as error:  # noqa: BLE001 – a report of its own
            text = f"{type(command).__name__} raises {error_text(error)}"
            return _Trial(command, EventComparison(0, events[0].type, text))
        return _Trial(command, compare_events(events, today, is_older=append[0].software != SOFTWARE_VERSION))

    def _fold(self, append: Sequence[LoggedEvent]) -> Iterator[Deviation]:
        """Applies the events of an append."""
        for logged in append:
            recorded = logged.recorded
            try:
                self.state = self._type.evolve(self.state, recorded)
                self._inversion.add(recorded)
            except Exception as error:  # noqa: BLE001 – a report of its own
                self.is_broken = True
                today = f"raises {error_text(error)}: the rest of the stream was not checked"
                yield Deviation.at_event("evolve", recorded, "the event changed the state", today)
                return
            if logged.state_hash is not None and logged.state_hash != self.state_hash:
                yield Deviation.at_event("evolve", recorded, "another state after it", "a state with another hash")
            yield from self._end_event(logged)
        yield from self._end_append(append)


def groups_of(events: Iterable[LoggedEvent]) -> Iterator[list[LoggedEvent]]:
    """Yields the events in groups with the same time and origin: one append, rarely several."""
    for _, group in groupby(events, key=origin_of):
        yield list(group)


def origin_of(logged: LoggedEvent) -> tuple[object, ...]:
    """Returns the facts that all events of an append share."""
    recorded = logged.recorded
    return recorded.at, recorded.actor, recorded.request_id, recorded.cause, logged.software


def hash_state(stream_type: StreamType[Any, Any], state: object) -> str:
    """Returns the SHA-256 of the stored form of a state in hexadecimal."""
    return sha256(stream_type.adapter.dump_json(state)).hexdigest()


def error_text(error: Exception) -> str:
    """Returns the type of an error and its text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
