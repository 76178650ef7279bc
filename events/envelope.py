"""The envelope of events, and the base of event contents.

A content is a frozen pydantic model with a literal `type`; its exact JSON bytes are stored. `RecordedEvent` is a
content with its position in the log, and the facts about its append: its time, its actor and its cause.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict

from events.actors import Actor

JsonObject = dict[str, Any]

SCHEMA_VERSION = 1
# The number of an effect that is not counted with the other effects of its request: those begin at 0.
UNCOUNTED = -1


class Event(BaseModel):
    """Base of all event contents. Subclasses add a literal `type`.

    pydantic builds the validator of a class when it is first needed, so that a process starts sooner.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(slots=True)
class EffectCounter:
    """Numbers the effects of a request that carries an Idempotency-Key: its appends to each stream, from 0 up.

    An effect is identified by `seed`, which follows from the key, its stream and its number. A second try of the
    request numbers its effects in the same way, so each effect happens once. `counts` holds the next number by stream
    id.
    """

    seed: bytes
    counts: dict[str, int] = field(default_factory=dict)

    def next_number(self, stream_id: str) -> int:
        """Returns the number of the next append to the stream, and counts it."""
        number = self.counts.get(stream_id, 0)
        self.counts[stream_id] = number + 1
        return number


@dataclass(frozen=True, slots=True)
class Origin:
    """The cause of an append: its project, its actor, the id of the request if there is one, and the id of a cause.

    `client` is the commitment to the client of the request, if that is recorded.

    If `effects` is given, an append that an earlier try of the same request has made is not made again.
    """

    project_id: str
    actor: Actor
    request_id: str | None = None
    cause: str | None = None
    client: bytes | None = None
    effects: EffectCounter | None = field(default=None, compare=False, repr=False)

    def for_uncounted_append(self, stream_id: str) -> Origin:
        """Returns an origin for an append that another try of the request may find unnecessary.

        The append is not counted, so the other appends to the stream keep their numbers. A request may have one such
        append for each stream.
        """
        if self.effects is None:
            return self
        return replace(self, effects=EffectCounter(self.effects.seed, {stream_id: UNCOUNTED}))


def classes_of(union: Any) -> frozenset[type]:
    """Returns the classes of a union of events.

    Readers of many events look up the exact class here before they match it against patterns: a pattern of pydantic's
    classes that does not match takes 150 ns.
    """
    return frozenset(get_args(union))


E = TypeVar("E", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class RecordedEvent(Generic[E]):
    """An event of the log. The versions of a stream are 1, 2, 3, … without gaps; `at` never decreases within it."""

    stream_id: str
    version: int
    at: datetime
    event: E
    project_id: str
    actor: Actor
    request_id: str | None = None
    cause: str | None = None
    client: bytes | None = None

    @property
    def seconds(self) -> int:
        """The time as the API shows it: whole seconds since the epoch."""
        return int(self.at.timestamp())
