"""The twins of the queries on webhook endpoints and their outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from tests.simulation.store import Row, Session
from tests.simulation.twins.registry import columns, twin


def _endpoint(session: Session, endpoint_id: str) -> Row | None:
    stream = session.stream(endpoint_id)
    return None if stream is None else stream.rows.tables["webhook_endpoints"].get((endpoint_id,))


def _deliveries(session: Session, endpoint_id: str) -> list[Row]:
    return [
        {"stream_id": key[1], "version": key[2], **row}
        for key, row in session.store.deliveries.items()
        if key[0] == endpoint_id
    ]


@twin("webhooks", "project_of")
def project_of(session: Session, endpoint_id: str) -> Iterator[Row]:
    row = _endpoint(session, endpoint_id)
    if row is not None:
        yield columns(row, "project_id")


@twin("webhooks", "prepare")
def prepare(session: Session, endpoint_id: str, secret: bytes) -> Iterator[Row]:
    fields = {"secret": secret, "made_at": session.store.now(), "process": None, "rests_until": session.store.now()}
    more = {"failures": 0, "failing_since": None, "delivered_at": None, "last_error": None}
    row = session.store.work.setdefault(endpoint_id, {**fields, **more, "replaced_secrets": [], "replaced_until": []})
    yield columns(row, "secret")


@twin("webhooks", "has_endpoints")
def has_endpoints(session: Session) -> Iterator[Row]:
    yield {"exists": bool(session.store.work)}


@twin("webhooks", "find_idle")
def find_idle(session: Session, live: Sequence[int], except_for: Sequence[str], limit: int) -> Iterator[Row]:
    now = session.store.now()
    found = []
    for endpoint_id, row in session.store.work.items():
        is_idle = row["process"] not in live and row["rests_until"] <= now and endpoint_id not in except_for
        if is_idle and any(each["due_at"] <= now for each in _deliveries(session, endpoint_id)):
            found.append((row["failures"] > 0, row["rests_until"], endpoint_id, row["process"]))
    for failing, _, endpoint_id, process in sorted(found, key=lambda each: each[:2])[:limit]:
        yield {"endpoint_id": endpoint_id, "process": process, "failing": failing}


@twin("webhooks", "claim")
def claim(session: Session, endpoint_id: str, process: int, holder: int | None) -> Iterator[Row]:
    row = session.store.work.get(endpoint_id)
    if row is not None and row["process"] == holder:
        row["process"] = process
        yield {"bool": True}


@twin("webhooks", "release")
def release(session: Session, endpoint_id: str, process: int) -> Iterator[Row]:
    row = session.store.work.get(endpoint_id)
    if row is not None and row["process"] == process:
        row["process"] = None
    yield from ()


@twin("webhooks", "load_claimed")
def load_claimed(session: Session, endpoint_id: str, process: int) -> Iterator[Row]:
    work, endpoint, now = session.store.work.get(endpoint_id), _endpoint(session, endpoint_id), session.store.now()
    if work is not None and endpoint is not None and work["process"] == process and endpoint["enabled"]:
        secrets = columns(work, "secret", "replaced_secrets", "replaced_until")
        shown = columns(endpoint, "project_id", "body", "patches")
        yield {**shown, **secrets, "at": now, "ready": work["rests_until"] <= now}


@twin("webhooks", "find_due")
def find_due(session: Session, endpoint_id: str, except_for: Sequence[str], window: int, limit: int) -> Iterator[Row]:
    now = session.store.now()
    found = [
        row for row in _deliveries(session, endpoint_id) if row["due_at"] <= now and row["stream_id"] not in except_for
    ]
    first: dict[str, Row] = {}
    for row in sorted(found, key=lambda row: row["due_at"])[:window]:
        known = first.get(row["stream_id"])
        if known is None or row["version"] < known["version"]:
            first[row["stream_id"]] = row
    for row in sorted(first.values(), key=lambda row: row["due_at"])[:limit]:
        yield columns(row, "stream_id", "version", "attempts")


@twin("webhooks", "record_success")
def record_success(session: Session, endpoint_id: str) -> Iterator[Row]:
    now = session.store.now()
    work = session.store.work.get(endpoint_id)
    if work is not None:
        delivered_at = work["delivered_at"]
        if work["failures"] > 0 or delivered_at is None or delivered_at < now - timedelta(seconds=5):
            work.update(failures=0, failing_since=None, delivered_at=now, last_error=None, rests_until=now)
    yield from ()


@twin("webhooks", "postpone")
def postpone(session: Session, endpoint_id: str, stream_id: str, version: int, pause: float) -> Iterator[Row]:
    delivery = session.store.deliveries.get((endpoint_id, stream_id, version))
    if delivery is not None:
        due_at = session.store.now() + timedelta(seconds=pause)
        delivery.update(attempts=delivery["attempts"] + 1, due_at=due_at)
    yield from ()


@twin("webhooks", "record_failure")
def record_failure(session: Session, endpoint_id: str, error: bytes, rest: float, longest_rest: float) -> Iterator[Row]:
    now = session.store.now()
    work = session.store.work.get(endpoint_id)
    if work is not None:
        # greatest() ignores null: the first failure rests for $3 seconds.
        failing = 0.0 if work["failing_since"] is None else (now - work["failing_since"]).total_seconds()
        seconds = min(max(failing, rest), longest_rest)
        since = work["failing_since"] or now
        work.update(failures=work["failures"] + 1, failing_since=since, last_error=error)
        work["rests_until"] = now + timedelta(seconds=seconds)
        yield {"failures": work["failures"], "seconds": (now - since).total_seconds()}


@twin("webhooks", "discard")
def discard(session: Session, endpoint_id: str, stream_id: str, version: int) -> Iterator[Row]:
    session.store.deliveries.pop((endpoint_id, stream_id, version), None)
    yield from ()


@twin("webhooks", "run_position")
def run_position(session: Session, thread_id: str, run_id: str) -> Iterator[Row]:
    stream = session.stream(thread_id)
    row = None if stream is None else stream.rows.tables["runs"].get((thread_id, run_id))
    if row is not None:
        yield columns(row, "position")


@twin("webhooks", "find_overloaded")
def find_overloaded(session: Session, limit: int) -> Iterator[Row]:
    for endpoint_id in session.store.work:
        if len(_deliveries(session, endpoint_id)) >= limit:
            yield {"endpoint_id": endpoint_id}


@twin("webhooks", "forget_secrets")
def forget_secrets(session: Session) -> Iterator[Row]:
    for row in session.store.work.values():
        if row["replaced_secrets"] and all(until <= session.store.now() for until in row["replaced_until"]):
            row.update(replaced_secrets=[], replaced_until=[])
    yield from ()


def _is_dead(session: Session, endpoint_id: str) -> bool:
    endpoint = _endpoint(session, endpoint_id)
    return endpoint is None or not endpoint["enabled"]


@twin("webhooks", "find_dead")
def find_dead(session: Session) -> Iterator[Row]:
    yield from ({"endpoint_id": id} for id in session.store.work if _is_dead(session, id))


@twin("webhooks", "drop_deliveries")
def drop_deliveries(session: Session, endpoint_ids: Sequence[str], limit: int) -> Iterator[Row]:
    dead = {id for id in endpoint_ids if _is_dead(session, id)}
    for key in [key for key in session.store.deliveries if key[0] in dead][:limit]:
        del session.store.deliveries[key]
    yield from ()


@twin("webhooks", "drop_work")
def drop_work(session: Session) -> Iterator[Row]:
    before = session.store.now() - timedelta(hours=1)
    for endpoint_id, row in list(session.store.work.items()):
        if row["made_at"] < before and _endpoint(session, endpoint_id) is None:
            del session.store.work[endpoint_id]
    yield from ()
