"""The twins of the statements of appends: the operations of an append are carried out as `sql/rows/` would.

A statement of a mix (`projections.mixes`) is taken apart into its operations; those on the rows of views are carried
out by their own twins, `projections.row_store`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from inspect import signature
from typing import Any

import asyncpg

from events.event_log import load_event
from events.streams import STREAM_TYPES
from projections.mixes import MIXES, statement_mixes
from projections.row_fold import RowFold
from projections.row_store import TWINS
from projections.row_store.tables import KeyExists
from sql.row_operations import EPOCH_CONSTRAINT, RowMissing, RowOperation, alone, compose, parameter_count
from tests.simulation.store import Row, Session, Stream

_MANY = "_many"
_LEAF_BYTES = 32
_OPENINGS = ("streams.open", "streams.move")
# The first statement of an append that is a transaction.
_BEGINNINGS = tuple((opening, "events.insert", "log_pending.insert") for opening in _OPENINGS)


class EpochViolation(asyncpg.CheckViolationError):
    """The software of the session is too old for the database."""

    constraint_name = EPOCH_CONSTRAINT


class MissingRow(asyncpg.InvalidTextRepresentationError):
    """An UPDATE of a statement found no row: the statement casts a text that says so."""


class EffectExists(asyncpg.UniqueViolationError):
    """Another try of the request has made the append."""

    constraint_name = "idempotency_effects_pkey"


@cache
def statements() -> Mapping[str, Sequence[str]]:
    """Returns the blocks of each statement of an append, by its text."""
    mixes = [*_BEGINNINGS, *(mix for stream_type in MIXES for mix in statement_mixes(stream_type))]
    single = [*TWINS, "events.insert", "webhook_deliveries.insert", "idempotency_effects.insert"]
    return {compose(mix): mix for mix in mixes} | {alone(block): (block,) for block in single}


def append(session: Session, blocks: Sequence[str], values: Sequence[Any]) -> list[Row]:
    """Carries out the statement of an append, or of one of its operations in a transaction.

    Returns the row of the new version, no row if the head is elsewhere. Raises the errors of Postgres.
    """
    operations = list(_operations(blocks, values))
    if operations[0].block not in _OPENINGS:
        # An operation of a transaction, which holds the stream: all its blocks begin with the id of the stream.
        stream_id = operations[0].values[0]
        session.lock(stream_id)
        stream = session.stream(stream_id)
        assert stream is not None
        return [{"rows": sum(_carry_out(session, stream_id, stream, operation) for operation in operations)}]
    stream_id = operations[0].values[0]
    session.lock(stream_id)
    _check(session, operations)
    before = session.stream(stream_id)
    head = None if before is None else dict(before.head)
    stream = _move_head(session, operations[0])
    if stream is None:
        return []
    try:
        for operation in operations[1:]:
            if not _carry_out(session, stream_id, stream, operation):
                raise MissingRow(f"{operation.block} found no row at version {stream.head['version']}")
    except (MissingRow, KeyExists) as error:
        _undo(session, stream_id, stream, head)
        if isinstance(error, KeyExists):
            raise asyncpg.UniqueViolationError(str(error)) from None
        raise
    return [{"version": stream.head["version"]}]


def _undo(session: Session, stream_id: str, stream: Stream, head: Row | None) -> None:
    """Puts a stream back in the state before a statement that failed."""
    if head is None:
        del (session.store.streams if session.transaction is None else session.transaction.streams)[stream_id]
        return
    stream.head = head
    del stream.events[head["version"] :]
    fold = RowFold(STREAM_TYPES[head["kind"]], stream_id, head["version"])
    for row in stream.events:
        fold.add(load_event(row))
    stream.rows = fold.finish()
    for key in [key for key in session.store.pending if key[1] == stream_id and key[2] > head["version"]]:
        del session.store.pending[key]
    for due in [due for due in session.store.deliveries if due[1] == stream_id and due[2] > head["version"]]:
        del session.store.deliveries[due]


def _check(session: Session, operations: Sequence[RowOperation]) -> None:
    """Raises the errors of constraints, before anything is changed."""
    for operation in operations:
        if operation.block == "idempotency_effects.insert":
            stream_id, seed, place = operation.values[:3]
            if (stream_id, seed, place) in session.store.effects:
                raise EffectExists("an effect exists")
    if session.epoch < session.store.view_epoch:
        raise EpochViolation("the software is outdated")


def _move_head(session: Session, operation: RowOperation) -> Stream | None:
    if operation.block == "streams.open":
        id, kind, project_id, version, at, schema, state, leaf, _ = operation.values
        if session.stream(id) is not None:
            return None
        fields = {"version": version, "at": at, "state_schema": schema, "state": state}
        stream = Stream({**fields, "project_id": project_id, "leaf": leaf, "fence": 0, "kind": kind})
        session.put_stream(id, stream)
        return stream
    id, version, leaf, fence, after, at, schema, state, new_leaf, _, kind = operation.values
    found = session.stream(id)
    if found is None:
        return None
    head = found.head
    if (head["kind"], head["version"], head["leaf"], head["fence"]) != (kind, version, leaf, fence):
        return None
    head.update(version=after, at=at, state_schema=schema, state=state, leaf=new_leaf)
    return found


def _carry_out(session: Session, stream_id: str, stream: Stream, operation: RowOperation) -> bool:
    """Carries out an operation. Returns whether it found its row."""
    own = _OWN.get(operation.block)
    if own is not None:
        own(session, stream, operation.values)
        return True
    try:
        TWINS[operation.block](stream.rows.tables, *operation.values)
    except RowMissing:
        return False
    return True


def _insert_events(session: Session, stream: Stream, values: Sequence[Any]) -> None:
    stream_id, before, types, contents, commitments, leaves, *envelope = values
    names = ("at", "project_id", "actor", "request_id", "cause", "schema_version", "software_version", "algorithm")
    common = dict(zip((*names, "client", "key_id"), envelope, strict=True))
    columns = zip(types, contents, commitments, leaves, strict=True)
    for version, (kind, content, commitment, leaf) in enumerate(columns, start=before + 1):
        own = {"type": kind, "content": content, "commitment": commitment, "leaf": leaf}
        stream.events.append({"stream_id": stream_id, "version": version, **own, **common})


def _insert_pending(session: Session, stream: Stream, values: Sequence[Any]) -> None:
    names = ("stream_id", "first_version", "at", "project_id", "actor", "request_id", "types", "leaves")
    row = dict(zip(names, values, strict=True))
    key: tuple[datetime, str, int] = (row["at"], row["stream_id"], row["first_version"])
    session.change(lambda: session.store.pending.__setitem__(key, row))


def _insert_deliveries(session: Session, stream: Stream, values: Sequence[Any]) -> None:
    stream_id, before, types, project_id = values
    due_at = session.store.now()
    for endpoint in session.store.rows("webhook_endpoints"):
        if endpoint["project_id"] == project_id and endpoint["enabled"]:
            for version, kind in enumerate(types, start=before + 1):
                if kind in endpoint["types"]:
                    key = (endpoint["endpoint_id"], stream_id, version)
                    row = {"attempts": 0, "due_at": due_at}
                    session.change(lambda key=key, row=row: session.store.deliveries.__setitem__(key, row))  # type: ignore[misc]


def _insert_effect(session: Session, stream: Stream, values: Sequence[Any]) -> None:
    stream_id, seed, place, first, last, at = values
    row = {"first_version": first, "last_version": last, "at": at}
    session.change(lambda: session.store.effects.__setitem__((stream_id, seed, place), row))


_OWN: dict[str, Callable[[Session, Stream, Sequence[Any]], None]] = {
    "events.insert": _insert_events,
    "log_pending.insert": _insert_pending,
    "webhook_deliveries.insert": _insert_deliveries,
    "idempotency_effects.insert": _insert_effect,
}


def _operations(blocks: Sequence[str], values: Sequence[Any]) -> Iterator[RowOperation]:
    """Yields the operations of a statement, those of a block `…_many` one by one."""
    start = 0
    for block in blocks:
        part = values[start : start + parameter_count(block)]
        start += len(part)
        if part[0] is None:
            continue  # the statement has nothing to do in this block
        if not block.endswith(_MANY):
            yield RowOperation(block, tuple(part))
            continue
        single = block.removesuffix(_MANY)
        for number in range(1, len(part[0]) + 1):
            yield RowOperation(single, tuple(_values_of(number, part, _arrays(single))))


def _values_of(number: int, columns: Sequence[Any], arrays: Sequence[bool]) -> Iterator[Any]:
    """Yields the values of operation `number`, from 1 on. See `sql.row_operations.merge`."""
    place = 0
    for is_array in arrays:
        if is_array:
            elements, owners = columns[place], columns[place + 1]
            yield [element for element, owner in zip(elements, owners, strict=True) if owner == number]
        else:
            yield columns[place][number - 1]
        place += 1 + is_array


@cache
def _arrays(block: str) -> Sequence[bool]:
    """Returns whether each parameter of a block is an array, by the types of its twin."""
    types = [parameter.annotation for parameter in signature(TWINS[block]).parameters.values()][1:]
    return [kind == "Patches" or str(kind).startswith("Sequence") for kind in types]
