"""Deletes expired files and uploads, and bytes that belong to no file.

Nothing depends on the time at which the sweep runs, since reads compare times themselves. Every process sweeps; two
sweeps at the same time do no harm.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from events.actors import SweepActor
from events.envelope import Origin
from events.errors import DomainError
from events.file import ExpireFile
from events.upload import ExpireUpload
from projections import files, uploads
from projections.rows import OverdueStream
from service.files.blob_marker import MARKER
from service.files.uploads import delete_leftover_file
from service.processes.scan_loop import ScanLoop
from service.storage.base import Blobs, StorageError, delete_unowned
from service.vector_stores.operations import remove_everywhere
from service.writer import Writer

log = structlog.get_logger()

# Seconds between two sweeps of expired objects. Each LOOKS_PER_LISTING-th sweep also lists the whole blob store.
SWEEP_EVERY_S = 60.0
LOOKS_PER_LISTING = 60
LIMIT = 200
MAX_PAGES = 50
# Younger bytes may belong to a request that has not appended its event yet. A form may take half of this time.
GRACE = timedelta(hours=2)
# A sweep that takes longer is stopped; the next one continues with the rest.
TIMEOUT_S = 600.0


class Sweep:
    """The sweep of all files and uploads."""

    def __init__(self, writer: Writer, blobs: Blobs) -> None:
        self._writer = writer
        self._blobs = blobs
        self._scans = 0

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        loop = ScanLoop("file_sweep", every_s=SWEEP_EVERY_S, retry_s=SWEEP_EVERY_S, expected=(StorageError,))
        await loop.run(self._scan)

    async def _scan(self) -> None:
        is_listing = self._scans % LOOKS_PER_LISTING == 0
        self._scans += 1
        async with asyncio.timeout(TIMEOUT_S):
            await self.expire(self._writer.clock.now())
            if is_listing:
                if count := await self._blobs.remove_unfinished():
                    log.info("unfinished_bytes_removed", count=count)
                await self.remove_unowned(self._writer.clock.now() - GRACE)
                await self.remove_unannounced()

    async def expire(self, at: datetime) -> None:
        """Appends the expiry of files and uploads, and deletes their bytes, up to MAX_PAGES pages of them."""
        for _ in range(MAX_PAGES):
            async with self._writer.pool.acquire() as db:
                old_files = await files.find_overdue(db, at, LIMIT)
                old_uploads = await uploads.find_overdue(db, at, LIMIT)
            for found in old_files:
                await self._expire_file(found)
            for found in old_uploads:
                await self._expire_upload(found)
            if len(old_files) < LIMIT and len(old_uploads) < LIMIT:
                return

    async def remove_unowned(self, before: datetime) -> None:
        """Deletes bytes that were written before that moment and belong to no file and no part: remains of crashes."""
        async for keys in self._blobs.list_older(before):
            async with self._writer.pool.acquire() as db:
                orphans = await files.find_unowned_blobs(db, [key for key in keys if key != MARKER])
            if orphans:
                log.info("unowned_bytes_removed", count=len(orphans))
                await self._blobs.delete(orphans)

    async def remove_unannounced(self) -> None:
        """Deletes the files of uploads that ended without one: remains of crashes on both sides."""
        async with self._writer.pool.acquire() as db:
            left = await uploads.find_leftover_files(db, LIMIT)
        for found in left:
            log.info("unannounced_file_removed", upload=found.id)
            await delete_leftover_file(self._writer, self._blobs, _origin(found), found.id)

    async def _expire_file(self, found: OverdueStream) -> None:
        async with self._writer.pool.acquire() as db:
            blob = await files.blob_key(db, found.id)
        try:
            written = await self._writer.file(_origin(found), found.id, ExpireFile())
        except DomainError as error:
            log.warning("file_not_expired", file=found.id, error=error.message)
            return
        if written.recorded:
            await remove_everywhere(self._writer, _origin(found), found.id)
        if written.recorded and blob is not None:
            await delete_unowned(self._blobs, [blob])

    async def _expire_upload(self, found: OverdueStream) -> None:
        async with self._writer.pool.acquire() as db:
            parts = await uploads.parts(db, found.id)
        try:
            written = await self._writer.upload(_origin(found), found.id, ExpireUpload())
        except DomainError as error:
            log.warning("upload_not_expired", upload=found.id, error=error.message)
            return
        if written.recorded:
            await delete_unowned(self._blobs, list(parts))
            await delete_leftover_file(self._writer, self._blobs, _origin(found), found.id)


def _origin(found: OverdueStream) -> Origin:
    return Origin(project_id=found.project_id, actor=SweepActor())
