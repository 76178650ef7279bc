"""The rows by which processes pass the deltas of open calls to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import orjson

from service.deltas import Delta, MessageTextDelta, StepCallDelta, StepOutputDelta
from sql.connection import Connection, key_store

_KINDS: Mapping[str, type[Delta]] = {"message": MessageTextDelta, "call": StepCallDelta, "output": StepOutputDelta}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A row to write: deltas of a call, which follow those of its earlier rows. `is_start` if they are all so far.

    `batch` counts the rows of the call from 1, so that readers notice a row that is lost in a crash of Postgres.
    """

    thread_id: str
    call: int
    batch: int
    is_start: bool
    deltas: bytes


async def seal_rows(db: Connection, process: int, rows: Sequence[DeltaRow]) -> list[DeltaRow] | None:
    """Returns the rows of a process, encrypted under the keys of their threads; None if nothing is encrypted.

    The rows of a thread that has no key yet are left out. Its next append makes one. Raises KeyMissing.
    """
    store = key_store(db)
    if store is None or not await store.is_on(db):
        return None
    keys = await store.find(db, {row.thread_id for row in rows})
    sealed: list[DeltaRow] = []
    for row in rows:
        if (key := keys.get(row.thread_id)) is not None:
            place = ("live_deltas", row.thread_id, process, row.call, "deltas")
            sealed.append(replace(row, deltas=key.seal(row.deltas, place)))
    return sealed


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
