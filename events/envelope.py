"""The envelope that every event travels in, and the base of event contents.

A content is a frozen pydantic model with a literal `type`; its exact JSON bytes are what the store keeps. `Recorded`
is a content with its place: which stream, which version, when, by whom and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from events.actors import Actor

JsonObject = dict[str, Any]

SCHEMA_VERSION = 1
# The place of an append that is not counted with its try's others: theirs begin at 0.
SEPARATE_EFFECT = -1


class Event(BaseModel):
    """Base of all event contents. Subclasses add a literal `type`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(slots=True)
class EffectCounter:
    """What is done once however often it is asked for: the nth append to a stream under a `seed` is made once.

    `places` counts this try's appends by stream.
    """

    seed: bytes
    places: dict[str, int] = field(default_factory=dict)

    def place(self, stream_id: str) -> int:
        """The place of the next append to this stream."""
        found = self.places.get(stream_id, 0)
        self.places[stream_id] = found + 1
        return found


@dataclass(frozen=True, slots=True)
class Origin:
    """Who caused an append: `actor` (a key's or a process's name), the request's id, and what led to it.

    With `once` the append is made unless it was made before.
    """

    project_id: str
    actor: Actor
    request_id: str | None = None
    cause: str | None = None
    once: EffectCounter | None = field(default=None, compare=False, repr=False)

    def aside(self, stream_id: str) -> Origin:
        """For a request's one append to the stream that other tries may find needless: the rest keep their places."""
        return (
            self
            if self.once is None
            else replace(self, once=EffectCounter(self.once.seed, {stream_id: SEPARATE_EFFECT}))
        )


E = TypeVar("E", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class RecordedEvent(Generic[E]):
    """An event at its place. Versions of a stream are 1, 2, 3, … without gaps; `at` never goes back within it."""

    stream_id: str
    version: int
    at: datetime
    event: E
    project_id: str
    actor: Actor
    request_id: str | None = None
    cause: str | None = None

    @property
    def seconds(self) -> int:
        """`at` as the API shows times: whole seconds since the epoch."""
        return int(self.at.timestamp())
