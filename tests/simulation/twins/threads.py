"""The twins of the queries on the log, and on threads, messages, runs and steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.simulation.store import Row, Session
from tests.simulation.twins.registry import body_size, columns, twin, within_bytes

_EVENT = (
    *("stream_id", "version", "at", "project_id", "actor", "request_id", "cause", "client", "schema_version"),
    "content",
)
_HEAD = ("version", "at", "state_schema", "state", "project_id", "leaf", "fence")


def rows_of(session: Session, table: str, stream_id: str) -> Iterable[Row]:
    """Returns the rows of a stream's view."""
    stream = session.stream(stream_id)
    return () if stream is None else stream.rows.tables.rows(table)


def _find(session: Session, table: str, *key: str) -> Row | None:
    stream = session.stream(key[0])
    return None if stream is None else stream.rows.tables[table].get(key)


@twin("event_log", "head")
def head(session: Session, stream_id: str, kind: str) -> Iterator[Row]:
    stream = session.stream(stream_id)
    if stream is not None and stream.head["kind"] == kind:
        yield columns(stream.head, *_HEAD)


@twin("event_log", "versions")
def versions(session: Session, ids: Sequence[str]) -> Iterator[Row]:
    for id in dict.fromkeys(ids):
        stream = session.stream(id)
        if stream is not None:
            yield {"stream_id": id, "version": stream.head["version"]}


@twin("event_log", "read")
def read(session: Session, stream_id: str, after: int, limit: int, size: int) -> Iterator[Row]:
    stream = session.stream(stream_id)
    found = [] if stream is None else stream.events[max(after, 0) :][:limit]
    for row, is_within in within_bytes(found, size, [len(row["content"]) for row in found]):
        if is_within:
            yield columns(row, *_EVENT)


@twin("event_log", "read_types")
def read_types(
    session: Session, stream_id: str, after: int, until: int, types: Sequence[str], limit: int, size: int
) -> Iterator[Row]:
    stream = session.stream(stream_id)
    found = [] if stream is None else stream.events[max(after, 0) :]
    found = [row for row in found if row["version"] <= until and row["type"] in types][:limit]
    for row, is_within in within_bytes(found, size, [len(row["content"]) for row in found]):
        yield columns(row, *_EVENT) | ({} if is_within else {"content": None})


@twin("active_runs", "active_since")
def active_since(session: Session, thread_id: str, project_id: str) -> Iterator[Row]:
    found = [row["position"] for row in rows_of(session, "active_runs", thread_id) if row["project_id"] == project_id]
    yield {"min": min(found, default=None)}


_ACTIVE = ("thread_id", "run_id", "project_id", "process")


@twin("active_runs", "find_overdue")
def find_overdue(session: Session, at: int, limit: int) -> Iterator[Row]:
    found = [row for row in session.store.rows("active_runs") if row["expires_at"] is not None]
    yield from _by_expiry((row for row in found if row["expires_at"] <= at), limit)


@twin("active_runs", "next_expiry")
def next_expiry(session: Session) -> Iterator[Row]:
    found = [row["expires_at"] for row in session.store.rows("active_runs") if row["expires_at"] is not None]
    yield {"min": min(found, default=None)}


@twin("active_runs", "find_held")
def find_held(session: Session, process: int, known: Sequence[str], limit: int) -> Iterator[Row]:
    found = [
        row
        for row in session.store.rows("active_runs")
        if row["status"] != "requires_action" and row["process"] == process and row["run_id"] not in known
    ]
    yield from _by_expiry(found, limit)


@twin("active_runs", "find_unowned")
def find_unowned(session: Session, live: Sequence[int], limit: int) -> Iterator[Row]:
    found = [
        row
        for row in session.store.rows("active_runs")
        if row["status"] != "requires_action" and row["process"] not in live and row["expires_at"] is not None
    ]
    yield from _by_expiry(found, limit)


def _by_expiry(rows: Iterable[Row], limit: int) -> Iterator[Row]:
    # Nulls come last, as in Postgres.
    ordered = sorted(rows, key=lambda row: (row["expires_at"] is None, row["expires_at"] or 0))
    for row in ordered[:limit]:
        yield columns(row, *_ACTIVE)


@twin("threads", "get")
def get_thread(session: Session, thread_id: str, project_id: str) -> Iterator[Row]:
    row = _find(session, "threads", thread_id)
    if row is not None and row["project_id"] == project_id:
        attached: list[Any] = sorted(rows_of(session, "thread_attachments", thread_id), key=lambda row: row["position"])
        ids = [row["file_ids"] for row in attached]
        yield columns(row, "thread_id", "body", "patches", "has_own_store") | {"attached": ids[-1000:]}


@twin("runs", "get")
def get_run(session: Session, thread_id: str, run_id: str, project_id: str) -> Iterator[Row]:
    row = _find(session, "runs", thread_id, run_id)
    if row is not None and row["project_id"] == project_id:
        yield columns(row, "body", "patches")


@twin("steps", "get")
def get_step(session: Session, thread_id: str, run_id: str, step_id: str, project_id: str) -> Iterator[Row]:
    row = _find(session, "steps", thread_id, step_id)
    if row is not None and (row["run_id"], row["project_id"]) == (run_id, project_id):
        yield columns(row, "body", "patches")


@twin("steps", "tool_call_steps")
def tool_call_steps(
    session: Session, thread_id: str, since: int, before: int | None, limit: int, size: int
) -> Iterator[Row]:
    found = []
    for row in rows_of(session, "steps", thread_id):
        run = _find(session, "runs", thread_id, row["run_id"])
        is_asked = row["kind"] == "tool_calls" and row["position"] >= since
        if run is not None and is_asked and (before is None or row["position"] < before):
            found.append({**row, "place": run["position"]})
    found = sorted(found, key=lambda row: -row["position"])[:limit]
    yield from _sized(found, size, "place", "position", "step_id")


@twin("messages", "get")
def get_message(session: Session, thread_id: str, message_id: str, project_id: str) -> Iterator[Row]:
    row = _find(session, "messages", thread_id, message_id)
    if row is not None and row["project_id"] == project_id and not row["deleted"]:
        yield columns(row, "body", "patches")


@twin("messages", "newest")
def newest(
    session: Session,
    thread_id: str,
    run_id: str,
    before_place: int | None,
    before: int | None,
    limit: int,
    size: int,
) -> Iterator[Row]:
    run = _find(session, "runs", thread_id, run_id)
    if run is None:
        return
    found = [
        row
        for row in _placed_messages(session, thread_id)
        if row["place"] <= run["position"]
        and (before_place is None or (row["place"], row["position"]) < (before_place, before))
    ]
    yield from _sized(found[::-1][:limit], size, "place", "position", "message_id")


@twin("messages", "first")
def first_message(session: Session, thread_id: str) -> Iterator[Row]:
    for row in _placed_messages(session, thread_id)[:1]:
        yield columns(row, "place", "position", "message_id", "body", "patches")


def _placed_messages(session: Session, thread_id: str) -> list[Row]:
    """Returns the messages in the order of prompts, each with its place."""
    found = [
        {**row, "place": row["position"] if row["place"] is None else row["place"]}
        for row in rows_of(session, "messages", thread_id)
        if not row["deleted"]
    ]
    return sorted(found, key=lambda row: (row["place"], row["position"]))


def _sized(rows: Sequence[Row], size: int, *names: str) -> Iterator[Row]:
    for row, is_within in within_bytes(rows, size, [body_size(row) for row in rows]):
        shown = columns(row, "body", "patches") if is_within else {"body": None, "patches": None}
        yield columns(row, *names) | shown
