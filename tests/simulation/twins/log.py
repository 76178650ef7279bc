"""The twins of the queries of the sequencer, of the peers, and on the generations of views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from tests.simulation.store import Row, Session
from tests.simulation.twins.registry import columns, twin

_KEY = ("at", "stream_id", "first_version")
_PENDING = (*_KEY, "project_id", "actor", "request_id", "types", "leaves")


@twin("sequencer", "pending")
def pending(session: Session, at: datetime, stream_id: str, first_version: int, limit: int) -> Iterator[Row]:
    keys = sorted(key for key in session.store.pending if key > (at, stream_id, first_version))
    for key in keys[:limit]:
        yield columns(session.store.pending[key], *_PENDING)


@twin("sequencer", "oldest")
def oldest(session: Session) -> Iterator[Row]:
    if session.store.pending:
        yield columns(session.store.pending[min(session.store.pending)], *_KEY)


@twin("sequencer", "end")
def end(session: Session) -> Iterator[Row]:
    first = max(epoch["first_index"] for epoch in session.store.epochs)
    newest = max(session.store.ranges, key=lambda row: row["first_index"], default=None)
    yield {"greatest": first if newest is None else max(first, newest["first_index"] + newest["count"])}


@twin("sequencer", "versions")
def log_versions(session: Session, stream_ids: Sequence[str]) -> Iterator[Row]:
    for stream_id in stream_ids:
        found = [row for row in session.store.ranges if row["stream_id"] == stream_id]
        if found:
            last = max(found, key=lambda row: row["first_version"])
            yield {"stream_id": stream_id, "version": last["first_version"] + last["count"] - 1}


@twin("sequencer", "seal")
def seal(session: Session, *values: Any) -> Iterator[Row]:
    names = ("first_index", "count", "at", "stream_id", "first_version", "project_id", "actor", "request_id")
    new = [dict(zip((*names, "types", "leaves"), row, strict=True)) for row in zip(*values[:10], strict=True)]
    ranges = session.store.ranges
    taken = {row["first_index"] for row in ranges}
    streams = {(row["stream_id"], row["first_version"]) for row in ranges}
    if any(row["first_index"] in taken or (row["stream_id"], row["first_version"]) in streams for row in new):
        raise asyncpg.UniqueViolationError("another sequencer has sealed")
    ranges.extend({**row, "types": row["types"].split(",")} for row in new)
    if values[10] is not None:
        session.store.epochs.append(dict(zip(("epoch", "origin", "first_index"), values[10:], strict=True)))
    yield from ()


@twin("sequencer", "waiting")
def waiting(session: Session, stream_id: str) -> Iterator[Row]:
    found = [row for row in session.store.pending.values() if row["stream_id"] == stream_id]
    for row in sorted(found, key=lambda row: row["first_version"]):
        yield columns(row, *_PENDING)


@twin("sequencer", "delete")
def delete(session: Session, *keys: Sequence[Any]) -> Iterator[Row]:
    for key in zip(*keys, strict=True):
        session.store.pending.pop(key, None)
    yield from ()


@twin("sequencer", "fill_gap")
def fill_gap(session: Session, at: datetime, stream_id: str, after: int, before: int, limit: int) -> Iterator[Row]:
    stream = session.stream(stream_id)
    rows = [] if stream is None else stream.events
    own = [row for row in session.store.pending.values() if row["stream_id"] == stream_id]
    covered = {
        version for row in own for version in range(row["first_version"], row["first_version"] + len(row["types"]))
    }
    found = [row for row in rows if after < row["version"] < before and row["version"] not in covered]
    for row in found[:limit]:
        fields = columns(row, "stream_id", "project_id", "actor", "request_id")
        own_fields = {"at": at, "first_version": row["version"], "types": [row["type"]], "leaves": row["leaf"]}
        session.store.pending.setdefault((at, stream_id, row["version"]), fields | own_fields)
    yield from ()


@twin("sequencer", "waiting_count")
def waiting_count(session: Session, limit: int) -> Iterator[Row]:
    yield {"count": min(limit, len(session.store.pending))}


@twin("view_generations", "newest_epoch")
def newest_epoch(session: Session) -> Iterator[Row]:
    # A process counts from the epoch that its own software writes, which is VIEW_EPOCH for all of this program.
    yield {"coalesce": max(session.store.view_epoch - session.epoch, 0)}


@twin("peers", "keepalive")
def keepalive(session: Session) -> Iterator[Row]:
    yield {"set_config": ""}


@twin("peers", "hold")
def hold(session: Session, namespace: int, process: int) -> Iterator[Row]:
    holder = session.store.locks.setdefault(process, session)
    yield {"pg_try_advisory_lock": holder is session}


@twin("peers", "live")
def live(session: Session, namespace: int) -> Iterator[Row]:
    for process, holder in session.store.locks.items():
        yield {"process": process, "last_query": session.store.time_of(holder.last_query_s)}


@twin("peers", "release")
def release(session: Session, namespace: int, process: int) -> Iterator[Row]:
    is_held = session.store.locks.get(process) is session
    if is_held:
        del session.store.locks[process]
    yield {"pg_advisory_unlock": is_held}


@twin("peers", "notify")
def notify(session: Session, channel: str, payload: str) -> Iterator[Row]:
    session.store.notify(channel, payload)
    yield {"pg_notify": ""}


@twin("peers", "server_age")
def server_age(session: Session) -> Iterator[Row]:
    yield {"extract": (session.store.now() - session.store.started_at).total_seconds()}


@twin("peers", "holders")
def holders(session: Session) -> Iterator[Row]:
    found = {row["process"] for row in session.store.rows("active_runs")}
    files = session.store.rows("vector_store_files")
    found |= {row["process"] for row in files if row["status"] == "in_progress"}
    found |= {row["process"] for row in session.store.work.values()}
    for process in sorted(found - {None}):
        yield {"process": process}
