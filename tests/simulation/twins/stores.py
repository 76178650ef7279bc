"""The twins of the queries on files, vector stores, and the files of vector stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.simulation.store import Row, Session
from tests.simulation.twins.registry import columns, twin
from tests.simulation.twins.threads import rows_of

_STORED = ("store_id", "file_id", "project_id", "job", "process")


def _file(session: Session, file_id: str, project_id: str, at: int) -> Row | None:
    """Returns the row of a file that exists at the time."""
    for row in rows_of(session, "files", file_id):
        if row["project_id"] == project_id and row["blob"] is not None:
            return row if row["expires_at"] is None or row["expires_at"] > at else None
    return None


@twin("files", "get")
def get_file(session: Session, file_id: str, project_id: str, at: int) -> Iterator[Row]:
    row = _file(session, file_id, project_id, at)
    if row is not None:
        yield columns(row, "body")


@twin("files", "find")
def find_files(session: Session, file_ids: Sequence[str], project_id: str, at: int) -> Iterator[Row]:
    for file_id in dict.fromkeys(file_ids):
        row = _file(session, file_id, project_id, at)
        if row is not None:
            yield columns(row, "file_id", "body")


@twin("vector_stores", "get")
def get_store(session: Session, store_id: str, project_id: str) -> Iterator[Row]:
    counts = ("in_progress", "completed", "failed", "cancelled", "usage_bytes")
    for row in rows_of(session, "vector_stores", store_id):
        if row["project_id"] == project_id and not row["deleted"]:
            more = ("body", "patches", "embedding_model", "last_active_at", "expires_after", "expired")
            yield columns(row, *more, *counts)


@twin("vector_store_files", "facts")
def facts(session: Session, store_id: str, file_ids: Sequence[str]) -> Iterator[Row]:
    for row in rows_of(session, "vector_store_files", store_id):
        if row["file_id"] in file_ids and row["status"] != "removed":
            yield columns(row, "file_id", "status", "usage_bytes", "job", "process", "attempt", "attributes", "body")


@twin("vector_store_files", "find_overdue")
def find_overdue(session: Session, at: int, limit: int) -> Iterator[Row]:
    found = [
        row
        for row in session.store.rows("vector_store_files")
        if row["status"] == "in_progress" and row["process"] is not None and row["deadline"] <= at
    ]
    for row in sorted(found, key=lambda row: row["deadline"])[:limit]:
        yield columns(row, *_STORED)


@twin("vector_store_files", "find_held")
def find_held(session: Session, process: int, limit: int) -> Iterator[Row]:
    found = [
        row
        for row in session.store.rows("vector_store_files")
        if row["status"] == "in_progress" and row["process"] == process
    ]
    for row in found[:limit]:
        yield columns(row, *_STORED)


@twin("vector_store_files", "find_waiting")
def find_waiting(session: Session, live: Sequence[int], limit: int, first: str, each: int) -> Iterator[Row]:
    """Flows take turns, and in a flow its vector stores: those with fewer files in work come first."""
    in_progress = [row for row in session.store.rows("vector_store_files") if row["status"] == "in_progress"]
    waiting = [row for row in in_progress if row["process"] is None or row["process"] not in live]
    started = Counter(row["store_id"] for row in in_progress if row["process"] is not None)
    flows = {(row["project_id"], row["is_large"]) for row in waiting}
    found: list[tuple[int, int, Row]] = []
    for place, flow in enumerate(_rotated(flows, lambda flow: flow[0] > first, limit)):
        own = [row for row in waiting if (row["project_id"], row["is_large"]) == flow]
        stores = _rotated({row["store_id"] for row in own}, lambda store: store > first, each)
        turns: list[tuple[int, int, Row]] = []
        for store_place, store_id in enumerate(stores):
            files = sorted((row for row in own if row["store_id"] == store_id), key=lambda row: row["position"])
            for turn, row in enumerate(files[:each], start=1):
                turns.append((turn + started[store_id], store_place, row))
        turns.sort(key=lambda turn: turn[:2])
        found += [(flow_turn, place, row) for flow_turn, (_, _, row) in enumerate(turns)]
    for _, _, row in sorted(found, key=lambda each: each[:2])[:limit]:
        yield columns(row, *_STORED, "is_large")


def _rotated(values: set[Any], is_after: Callable[[Any], bool], limit: int) -> list[Any]:
    """Returns the values in order: those after the first one, then the others."""
    return sorted(values, key=lambda value: (not is_after(value), value))[:limit]


@twin("vector_store_batches", "get")
def get_batch(session: Session, store_id: str, batch_id: str, project_id: str) -> Iterator[Row]:
    for row in rows_of(session, "vector_store_batches", store_id):
        if row["batch_id"] == batch_id and row["project_id"] == project_id:
            counts = columns(row, "created_at", "is_cancelled", "in_progress", "completed", "failed", "cancelled")
            yield {"id": batch_id, "vector_store_id": store_id, **counts}
