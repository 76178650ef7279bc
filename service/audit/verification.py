"""Verifies an installation: its streams, its log, its views and the bytes of its files (`everthread verify`).

Streams are checked in batches, each in a short snapshot, by several processes. The service may write meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from events import codec, leaves
from events.clients import CLIENT_DOMAIN
from events.installation import INSTALLATION_ID, LogKeyUsed, StreamsErased
from service.audit.attestation_check import AttestationResult, Trust, check_attestations
from service.audit.batch_check import STATEMENT_S, BatchResult, check_batch
from service.audit.batch_workers import check_in_worker, open_worker
from service.audit.blob_check import check_blobs
from service.audit.faults import Fault
from service.audit.import_check import ImportedPart, check_imports
from service.audit.log_check import KnownCheckpoint, LogResult, check_log
from service.audit.notes import VerifierKey
from service.audit.schema_check import check_schema
from service.child_process import worker_context
from service.database import connect
from service.secrets.key_ring import RING
from service.storage.base import Blobs
from service.storage.sealed_blobs import SealedBlobs
from sql import queries
from sql.connection import Connection

BATCH_EVENTS = 4000
BATCH_STREAMS = 500
# A database with fewer events is checked in this process: others take a second to start.
FEW_EVENTS = 20_000
MAX_ORPHANS = 100

_SQL = queries("verify")


@dataclass(slots=True)
class Progress:
    """The work of a verification so far."""

    total_events: int = 0
    total_streams: int = 0
    streams: int = 0
    events: int = 0
    waiting: int = 0
    files: int = 0
    log_size: int = 0
    checkpoints: int = 0
    unvouched: int = 0
    erased: int = 0
    imported: ImportedPart = field(default_factory=ImportedPart)
    attestations: AttestationResult = field(default_factory=AttestationResult)
    faults: list[Fault] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The part to verify: one stream, streams with events since a time, or all.

    The log as a whole is always verified. `trust` names the parties whose attestations count. `processes` is the
    number of processes; None for one a core. `restores` are the numbers of the epochs that began with a restore, as the
    operator says. `unreadable` are faults of checkpoints that could not be read.
    """

    stream_id: str | None = None
    since: datetime | None = None
    known: Sequence[KnownCheckpoint] = ()
    keys: Collection[VerifierKey] = ()
    trust: Trust = field(default_factory=Trust)
    processes: int | None = None
    restores: Collection[int] = ()
    unreadable: Sequence[Fault] = ()


async def verify_installation(
    url: str, blobs: Blobs | None, scope: Scope, on_progress: Callable[[Progress], None]
) -> Progress:
    """Verifies the database at `url`, and the files if `blobs` is given. Calls `on_progress` after each batch."""
    progress = Progress()
    db = await connect(url, command_timeout_s=STATEMENT_S, is_lenient=True)
    try:
        progress.faults += await check_schema(db, has_views=not await db.fetchval(_SQL["is_replica"]))
        [(progress.total_streams, progress.total_events)] = await db.fetch(_SQL["totals"], scope.since, scope.stream_id)
        erased = list[tuple[str, str]]()
        async for result in _check_streams(url, db, scope, progress):
            erased += result.erased
            progress.events += result.events
            progress.waiting += result.waiting
            progress.faults += result.faults
            on_progress(progress)
        if erased:
            progress.erased = len({stream_id for stream_id, _ in erased})
            progress.faults += await _find_lost_keys(db, erased)
        if scope.stream_id is None or progress.total_streams == 0:
            progress.faults += await _find_orphans(db, scope.stream_id)
        if scope.stream_id is None:
            progress.imported = await check_imports(db)
            progress.faults += progress.imported.faults
        log = await _check_log(db, scope)
        progress.log_size, progress.checkpoints, progress.unvouched = log.size, log.checkpoints, log.unvouched
        if log.has_epochs:
            progress.attestations = await check_attestations(db, scope.trust, scope.known)
        progress.faults = [*progress.faults, *log.faults, *scope.unreadable, *progress.attestations.faults]
        progress.losses = log.losses
        if blobs is not None:

            def count(_: int) -> None:
                progress.files += 1
                on_progress(progress)

            sealed = SealedBlobs(blobs, lambda: nullcontext(db))
            progress.faults += await check_blobs(db, sealed, scope.stream_id, count)
    finally:
        await db.close()
    return progress


async def _find_lost_keys(db: Connection, erased: Collection[tuple[str, str]]) -> list[Fault]:
    """Returns a fault for each stream whose key is missing although no event says that it was destroyed."""
    known = set[tuple[str, str]]()
    for row in await db.fetch(_SQL["erasures"], INSTALLATION_ID):
        try:
            event = codec.load(leaves.content_json(row["content"]), row["schema_version"])
        except ValueError:  # the event was changed, which the check of its stream reports
            continue
        if isinstance(event, StreamsErased):
            known.update((stream.stream_id, stream.key_id) for stream in event.streams)
    lost = (pair for pair in erased if pair not in known)
    return [
        Fault(stream_id, None, f"the key {key_id} of its contents is missing, and no event says that it was erased")
        for stream_id, key_id in lost
    ]


async def _check_log(db: Connection, scope: Scope) -> LogResult:
    recorded = list[VerifierKey]()
    # Keys that were in use before. Only the database vouches for them: a given key must cover their checkpoints.
    for row in await db.fetch(_SQL["log_keys"], INSTALLATION_ID) if scope.keys else []:
        try:
            used = codec.load(leaves.content_json(row["content"]), row["schema_version"])
            recorded += [VerifierKey.parse(used.verifier_key)] if isinstance(used, LogKeyUsed) else []
        except ValueError:  # the event was changed, which the check of its stream reports
            continue
    return await check_log(db, scope.known, scope.keys, recorded, scope.restores)


async def _check_streams(url: str, db: Connection, scope: Scope, progress: Progress) -> AsyncIterator[BatchResult]:
    count = scope.processes or os.cpu_count() or 1
    if progress.total_events < FEW_EVENTS or count == 1:
        worker = await connect(url, command_timeout_s=STATEMENT_S, is_lenient=True)
        try:
            async for batch in _batches(db, scope):
                progress.streams += len(batch)
                yield await check_batch(worker, batch)
        finally:
            await worker.close()
        return
    context = worker_context("service.audit.batch_workers")
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=open_worker, initargs=(url, RING.secrets())
    ) as pool:
        loop, running = asyncio.get_running_loop(), set[asyncio.Future[BatchResult]]()
        async for batch in _batches(db, scope):
            progress.streams += len(batch)
            running.add(loop.run_in_executor(pool, check_in_worker, batch))
            if len(running) > 2 * count:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        for ended in asyncio.as_completed(running):
            yield await ended


async def _batches(db: Connection, scope: Scope) -> AsyncIterator[list[str]]:
    """Yields ids of streams, in batches of up to BATCH_EVENTS events or one stream."""
    last, batch, events = "", list[str](), 0
    while rows := await db.fetch(_SQL["streams"], last, scope.since, scope.stream_id, BATCH_STREAMS):
        for row in rows:
            if batch and (events + row["version"] > BATCH_EVENTS or len(batch) >= BATCH_STREAMS):
                yield batch
                batch, events = [], 0
            batch.append(row["stream_id"])
            events += row["version"]
        last = rows[-1]["stream_id"]
    if batch:
        yield batch


async def _find_orphans(db: Connection, stream_id: str | None) -> list[Fault]:
    """Returns faults for events, ranges and rows of views whose stream has no head, and for changed clients."""
    faults = []
    for row in await db.fetch(_SQL["events_without_head"], MAX_ORPHANS):
        text = "the stream's head was removed, or the event was inserted"
        faults.append(Fault(row["stream_id"], row["version"], text))
    without_events = {fault.stream_id for fault in faults}
    for row in await db.fetch(_SQL["ranges_without_head"], MAX_ORPHANS):
        if row["stream_id"] not in without_events:
            text = "the stream was removed: only the log has its events"
            faults.append(Fault(row["stream_id"], row["version"], text))
    for row in await db.fetch(_SQL["pending_without_head"], MAX_ORPHANS):
        text = "the event waits for its index, but there is no such stream"
        faults.append(Fault(row["stream_id"], row["version"], text))
    for row in await db.fetch(_SQL["changed_clients"], CLIENT_DOMAIN, MAX_ORPHANS):
        text = f"the row {row['request_id']} of request_clients was changed: the event commits to another client"
        faults.append(Fault(row["stream_id"], row["version"], text))
    for row in await db.fetch(_SQL["rows_without_stream"], MAX_ORPHANS):
        text = f"the row {row['id']} of {row['view']} belongs to no stream"
        faults.append(Fault(row["stream_id"], None, text))
    return [fault for fault in faults if stream_id in (None, fault.stream_id)]
