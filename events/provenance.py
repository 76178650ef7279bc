"""The part of a first event that says where its object was imported from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from events.envelope import Event, RecordedEvent


class Provenance(Event):
    """`source` names the origin of an object; `created_at` is the time of its creation there, in seconds."""

    source: str
    created_at: int


def creation_time(recorded: RecordedEvent[Any]) -> datetime:
    """Returns the time at which the object of a first event was created: that of its origin if it was imported."""
    provenance: Provenance | None = recorded.event.provenance
    return recorded.at if provenance is None else datetime.fromtimestamp(provenance.created_at, UTC)
