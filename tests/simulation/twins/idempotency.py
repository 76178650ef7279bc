"""The twins of the queries of `service/idempotency/`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from tests.simulation.store import Row, Session
from tests.simulation.twins.registry import columns, twin


@twin("idempotency", "claim")
def claim(
    session: Session,
    token: bytes,
    seed: bytes,
    at: datetime,
    request: bytes,
    body: bytes | None,
    process: int,
    expired: datetime,
) -> Iterator[Row]:
    known = session.store.keys.get(token)
    if known is not None and known["created_at"] > expired:
        return
    fields = {"seed": seed, "created_at": at, "request": request, "body": body, "process": process, "claimed_at": at}
    answer = {"status": None, "content": None, "headers": None, "sealed_headers": None}
    session.store.keys[token] = {"token": token, **fields, **answer}
    yield {"seed": seed}


@twin("idempotency", "find")
def find(session: Session, token: bytes) -> Iterator[Row]:
    row = session.store.keys.get(token)
    if row is not None:
        yield columns(row, "seed", "request", "body", "process", "claimed_at", "status")


@twin("idempotency", "answer")
def answer(session: Session, token: bytes, seed: bytes) -> Iterator[Row]:
    row = session.store.keys.get(token)
    if row is not None and row["seed"] == seed and row["status"] is not None:
        yield columns(row, "content", "headers", "sealed_headers")


@twin("idempotency", "take")
def take(
    session: Session,
    token: bytes,
    seed: bytes,
    holder: int | None,
    process: int,
    at: datetime,
    request: bytes,
    body: bytes,
    claimed_at: datetime,
) -> Iterator[Row]:
    row = session.store.keys.get(token)
    if row is not None and (row["seed"], row["status"], row["process"], row["claimed_at"]) == (
        seed,
        None,
        holder,
        claimed_at,
    ):
        row.update(process=process, claimed_at=at, request=request, body=body)
        yield {"token": token}


@twin("idempotency", "tell_body")
def tell_body(session: Session, token: bytes, seed: bytes, body: bytes) -> Iterator[Row]:
    row = session.store.keys.get(token)
    if row is not None and row["seed"] == seed:
        row["body"] = body
    yield from ()


@twin("idempotency", "finish")
def finish(
    session: Session,
    token: bytes,
    seed: bytes,
    claimed_at: datetime,
    status: int,
    headers: str | None,
    content: bytes,
    sealed_headers: bytes | None,
) -> Iterator[Row]:
    row = session.store.keys.get(token)
    if row is not None and (row["seed"], row["claimed_at"], row["status"]) == (seed, claimed_at, None):
        row.update(process=None, status=status, headers=headers, content=content, sealed_headers=sealed_headers)
    yield from ()


@twin("idempotency", "has_effect")
def has_effect(session: Session, seed: bytes) -> Iterator[Row]:
    yield {"exists": any(key[1] == seed for key in session.store.effects)}


@twin("idempotency", "release")
def release(session: Session, token: bytes, seed: bytes, claimed_at: datetime, is_bound: bool) -> Iterator[Row]:
    row = session.store.keys.get(token)
    if row is not None and (row["seed"], row["claimed_at"], row["status"]) == (seed, claimed_at, None):
        row["process"] = None
        if not is_bound:
            row.update(request=None, body=None)
    yield from ()


@twin("idempotency", "effect")
def effect(session: Session, stream_id: str, seed: bytes, place: int) -> Iterator[Row]:
    row = session.store.effects.get((stream_id, seed, place))
    if row is not None:
        yield columns(row, "first_version", "last_version")


@twin("idempotency", "expire_keys")
def expire_keys(session: Session, before: datetime, limit: int) -> Iterator[Row]:
    found = sorted((row["created_at"], token) for token, row in session.store.keys.items())
    for created_at, token in found[:limit]:
        if created_at <= before:
            del session.store.keys[token]
            yield {"token": token}


@twin("idempotency", "expire_effects")
def expire_effects(session: Session, before: datetime, limit: int) -> Iterator[Row]:
    found = sorted((row["at"], key) for key, row in session.store.effects.items())
    for at, key in found[:limit]:
        if at <= before:
            del session.store.effects[key]
            yield {"place": key[2]}
