"""The rows by which processes pass the deltas of open calls to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import orjson

from service.deltas import Delta, MessageTextDelta, StepCallDelta, StepOutputDelta

_KINDS: Mapping[str, type[Delta]] = {"message": MessageTextDelta, "call": StepCallDelta, "output": StepOutputDelta}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A row to write: deltas of a call, which follow those of its earlier rows. `is_start` if they are all so far."""

    thread_id: str
    call: int
    is_start: bool
    deltas: bytes


def dump_deltas(deltas: Sequence[Delta]) -> bytes:
    """Returns deltas as JSON."""
    return orjson.dumps(
        [[_NAMES[type(delta)], *(getattr(delta, field.name) for field in fields(delta))] for delta in deltas]
    )


def load_deltas(content: bytes) -> list[Delta]:
    """Returns the deltas of `dump_deltas`."""
    found: list[Delta] = []
    for name, *values in orjson.loads(content):
        delta = _KINDS[name](*values)
        if isinstance(delta, MessageTextDelta):
            delta.images = tuple(delta.images)
        found.append(delta)
    return found
