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
from service.database import DATABASE_ERRORS
from service.files.uploads import unmake
from service.storage.base import Blobs, StorageError, let_go
from service.vector_stores.operations import remove_everywhere
from service.writer import Writer

log = structlog.get_logger()

# Seconds between two sweeps of expired objects. Each LOOKS_PER_LISTING-th sweep also lists the whole blob store.
SWEEP_EVERY = 60.0
LOOKS_PER_LISTING = 60
LIMIT = 200
MAX_PAGES = 50
# Younger bytes may belong to a request that has not appended its event yet. A form may take half of this time.
GRACE = timedelta(hours=2)
# A sweep that takes longer is stopped; the next one continues with the rest.
TIMEOUT = 600.0


class Sweep:
    def __init__(self, writer: Writer, blobs: Blobs) -> None:
        self._writer = writer
        self._blobs = blobs

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        look = 0
        while True:
            try:
                async with asyncio.timeout(TIMEOUT):
                    await self.expire(self._writer.clock.now())
                    if look % LOOKS_PER_LISTING == 0:
                        await self.remove_unowned(self._writer.clock.now() - GRACE)
                        await self.remove_unannounced()
            except (StorageError, TimeoutError, *DATABASE_ERRORS) as error:
                log.warning("sweep failed", error=str(error) or type(error).__name__)
            except Exception:
                log.exception("sweep failed")
            look += 1
            await asyncio.sleep(SWEEP_EVERY)

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
        async for keys in self._blobs.older(before):
            async with self._writer.pool.acquire() as db:
                orphans = await files.find_unowned_blobs(db, keys)
            if orphans:
                log.info("removing bytes that nobody owns", count=len(orphans))
                await self._blobs.delete(orphans)

    async def remove_unannounced(self) -> None:
        """Deletes the files of uploads that ended without one: remains of crashes on both sides."""
        async with self._writer.pool.acquire() as db:
            left = await uploads.find_leftover_files(db, LIMIT)
        for found in left:
            log.info("removing the file of an upload that ended without one", upload=found.id)
            await unmake(self._writer, self._blobs, _origin(found), found.id)

    async def _expire_file(self, found: OverdueStream) -> None:
        async with self._writer.pool.acquire() as db:
            blob = await files.blob_key(db, found.id)
        try:
            written = await self._writer.file(_origin(found), found.id, ExpireFile())
        except DomainError as error:
            log.warning("a file could not expire", file=found.id, error=error.message)
            return
        if written.recorded:
            await remove_everywhere(self._writer, _origin(found), found.id)
        if written.recorded and blob is not None:
            await let_go(self._blobs, [blob])

    async def _expire_upload(self, found: OverdueStream) -> None:
        async with self._writer.pool.acquire() as db:
            parts = await uploads.parts(db, found.id)
        try:
            written = await self._writer.upload(_origin(found), found.id, ExpireUpload())
        except DomainError as error:
            log.warning("an upload could not expire", upload=found.id, error=error.message)
            return
        if written.recorded:
            await let_go(self._blobs, list(parts))
            await unmake(self._writer, self._blobs, _origin(found), found.id)


def _origin(found: OverdueStream) -> Origin:
    return Origin(project_id=found.project_id, actor=SweepActor())
