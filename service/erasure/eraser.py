"""Follows the log for deletions, removes the copies of the deleted data, and destroys the keys of their streams.

Every process does this; a claim on a row keeps others away from it for CLAIM_S seconds. The order of the steps makes
each crash harmless: the event comes before the destruction of the key, so that no key is missing without an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from events.actors import ProcessActor
from events.envelope import Origin
from events.installation import INSTALLATION_PROJECT, ErasedStream, RecordActs, StreamsErased
from projections import erasures
from projections.erasures import KeyErasure
from service.audit.acts import write_installation
from service.database import DATABASE_ERRORS
from service.erasure.copies import CopyRemover, find_forks, hide
from service.erasure.forget_list import ForgetList
from service.processes.scan_loop import ScanLoop
from service.retention.release import PAGE_DELETIONS, Releaser
from service.storage.base import StorageError
from service.writer import Writer
from sql.connection import key_store

log = structlog.get_logger()

# Seconds between two looks at the log. Erasure begins at most so long after a deletion got its index, about 1 s later.
SCAN_EVERY_S = 2.0
# Ranges of the log that one transaction reads.
PAGE_RANGES = 500
# Streams that one process works on at a time, and seconds for which others leave them alone.
PAGE_STREAMS = 50
CLAIM_S = 60.0
# A scan that takes longer is cancelled; the next one goes on from there.
TIMEOUT_S = 600.0

# Makes the other processes drop the keys of these streams.
AnnounceErasure = Callable[[Sequence[str]], Awaitable[None]]


class Eraser:
    """Erases the data of deleted objects. `process` is this process's number among its peers."""

    def __init__(
        self,
        writer: Writer,
        copies: CopyRemover,
        *,
        forget_list: ForgetList,
        process: int,
        announce: AnnounceErasure,
    ) -> None:
        self._writer = writer
        self._copies = copies
        self._releaser = Releaser(writer.pool, writer.clock, hide)
        self._forget_list = forget_list
        self._origin = Origin(INSTALLATION_PROJECT, ProcessActor(process))
        self._announce = announce
        self._loop = ScanLoop("erasures", every_s=SCAN_EVERY_S, retry_s=SCAN_EVERY_S, expected=(StorageError, OSError))

    async def run(self) -> None:
        """Scans until it is cancelled."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Erases the data of all objects that were deleted up to the end of the log."""
        async with asyncio.timeout(TIMEOUT_S):
            more = True
            while more:
                async with self._writer.pool.acquire() as db, db.transaction():
                    more = await erasures.follow(db, PAGE_RANGES)
            await self.erase()

    async def erase(self) -> None:
        """Erases the data of the objects that are known to be deleted, and that no hold and no policy keeps."""
        while await self._releaser.release() == PAGE_DELETIONS:
            pass
        while await self._remove_copies() == PAGE_STREAMS:
            pass
        while await self._destroy_keys() == PAGE_STREAMS:
            pass

    async def _remove_copies(self) -> int:
        """Removes the copies of a page of objects. Returns the number of objects."""
        async with self._writer.pool.acquire() as db:
            claimed = await erasures.claim_uncleared(db, PAGE_STREAMS, CLAIM_S)
        for erasure in claimed:
            async with self._writer.pool.acquire() as db:
                if await erasures.exists_again(db, erasure):
                    await erasures.drop(db, erasure)
                    continue
            try:
                await self._copies.remove(erasure)
            except (*DATABASE_ERRORS, StorageError):
                raise
            except Exception:
                # One broken stream must not keep the others: it is tried again when its claim ends.
                log.exception("copies_not_removed", stream=erasure.stream_id)
                continue
            async with self._writer.pool.acquire() as db:
                await erasures.mark_cleared(db, erasure)
        return len(claimed)

    async def _destroy_keys(self) -> int:
        """Destroys the keys of a page of streams. Returns the number of streams."""
        async with self._writer.pool.acquire() as db:
            keys = key_store(db)
            if keys is None or not await keys.is_on(db):
                return 0
            claimed = await erasures.claim_unerased(db, PAGE_STREAMS, CLAIM_S)
        if not claimed:
            return 0
        # In the order of the ids, so that two processes cannot wait for each other.
        claimed.sort(key=lambda erasure: erasure.stream_id)
        async with self._writer.pool.acquire() as db:
            async with db.transaction():
                # The heads are held before the event and the list name a key: no key of an object that exists again is
                # named.
                held = [stream for each in claimed if (stream := await erasures.hold(db, each)) is not None]
                named = [stream.erasure for stream in held]
                if named:
                    await self._record(named)
                    lines = [(each.stream_id, each.key_id) for each in named]
                    await self._forget_list.add(lines, self._writer.clock.now())
                for stream in held:
                    await erasures.destroy_key(db, stream)
            erased = [each.stream_id for each in named]
            erasures.forget_keys(db, erased)
        if not erased:
            return len(claimed)
        await self._announce(erased)
        log.info("streams_erased", count=len(erased))
        return len(claimed)

    async def _record(self, claimed: Sequence[KeyErasure]) -> None:
        streams = list[ErasedStream]()
        async with self._writer.pool.acquire() as db:
            for each in claimed:
                stream = ErasedStream(
                    stream_id=each.stream_id,
                    project_id=each.project_id,
                    version=each.version,
                    key_id=each.key_id,
                    forks=await find_forks(db, each.stream_id) if each.kind == "thread" else [],
                )
                streams.append(stream)
        await write_installation(self._writer, self._origin, RecordActs((StreamsErased(streams=streams),)))
