"""Deviations: the places of a recorded history at which today's software would act otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from events import codec
from events.envelope import Event, RecordedEvent

# The part of the software that deviates. `read` if today's software cannot load the event.
Part = Literal["read", "decide", "evolve", "plan", "prompt"]
# Characters of a value that a text shows.
MAX_VALUE = 200


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of a recorded history, and the software that wrote it.

    `state_hash` is that of the state after it (`hash_state`), if it was recorded by software with the same shape of
    states. `request` is the body of the request that the event's record of a prompt is about, if a recording has it.
    """

    recorded: RecordedEvent[Any]
    software: str
    state_hash: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A place at which `part` of today's software acts otherwise.

    It is the event of `version`; `recorded` says what happened there, and `today` what would happen now. `run_id` is
    null if the event is of no run. `diff` are the lines of a unified diff of both, if they are texts.
    """

    part: Part
    stream_id: str
    version: int
    type: str
    at: datetime
    run_id: str | None
    recorded: str
    today: str
    diff: tuple[str, ...] = ()

    @classmethod
    def at_event(
        cls, part: Part, event: RecordedEvent[Any], recorded: str, today: str, diff: tuple[str, ...] = ()
    ) -> Deviation:
        """Returns the deviation at an event."""
        return cls(
            part=part,
            stream_id=event.stream_id,
            version=event.version,
            type=event.event.type,
            at=event.at,
            run_id=getattr(event.event, "run_id", None),
            recorded=recorded,
            today=today,
            diff=diff,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the deviation as JSON."""
        return {
            "part": self.part,
            "stream_id": self.stream_id,
            "version": self.version,
            "type": self.type,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "run_id": self.run_id,
            "recorded": self.recorded,
            "today": self.today,
            "diff": list(self.diff),
        }


@dataclass(frozen=True, slots=True)
class EventComparison:
    """The comparison of recorded events with those of today.

    `place` is the index of the first recorded event that differs, or of the last one if today's are more. `recorded`
    and `today` describe both there. All are null if there is no difference. `newer_fields` are fields, such as
    `run.expired.error`, that only today's events have, because the software that recorded the others had no such field.
    """

    place: int | None = None
    recorded: str = ""
    today: str = ""
    newer_fields: tuple[str, ...] = ()


def compare_events(recorded: Sequence[Event], today: Sequence[Event], *, is_older: bool) -> EventComparison:
    """Compares events. `is_older` if other software than this recorded them: then fields may be newer."""
    if list(recorded) == list(today):
        return EventComparison()
    newer: list[str] = []
    for place, (old, new) in enumerate(zip(recorded, today, strict=False)):
        if old == new:
            continue
        fields = _newer_fields(old, new) if is_older else None
        if fields is None:
            was, now = _describe_both(old, new)
            return EventComparison(place, was, now)
        newer += fields
    if len(recorded) > len(today):
        extra = recorded[len(today)]
        return EventComparison(len(today), _event_text(extra), "no such event")
    if len(today) > len(recorded):
        return EventComparison(len(recorded) - 1, "no event after it", f"after it {_event_text(today[len(recorded)])}")
    return EventComparison(newer_fields=tuple(newer))


def _newer_fields(old: Event, new: Event) -> list[str] | None:
    """Returns the fields that the recorded event does not have and today's does, or None if they differ otherwise."""
    if type(old) is not type(new):
        return None
    names = [name for name in type(old).model_fields if getattr(old, name) != getattr(new, name)]
    if any(name in old.model_fields_set or type(old).model_fields[name].is_required() for name in names):
        return None
    return [f"{_type(old)}.{name}" for name in names]


def _describe_both(old: Event, new: Event) -> tuple[str, str]:
    """Returns the fields that differ, with both values; the whole events if they are of different types."""
    if type(old) is not type(new):
        return _event_text(old), _event_text(new)
    was, now = _json(old), _json(new)
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return tuple(  # type: ignore[return-value]
        f"{_type(old)} with " + ", ".join(f"{name} {_value(side.get(name))}" for name in names) for side in (was, now)
    )


def _event_text(event: Event) -> str:
    content = {name: value for name, value in _json(event).items() if name != "type"}
    return f"{_type(event)} {_value(content)}" if content else _type(event)


def _json(event: Event) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(codec.dump(event))
    return content


def _value(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text):,} characters)"


def _type(event: Event) -> str:
    return str(event.type)  # type: ignore[attr-defined]
