"""The quota of stored bytes of a project: its files, the parts of its pending uploads, and its vector stores' usage.

The bytes are counted in the database when they are about to be stored and again when they have arrived. So uploads at
the same time can exceed the quota together, by one upload each at most, and the next one is refused. The text and the
vectors of a file count in each vector store that holds it, and their sizes are known when the file is indexed. So files
are attached, and their indexing is started, only while some of the quota is free, and the files that are being indexed
can exceed it.
"""

from __future__ import annotations

from events.errors import Rejection
from projections import files
from service.database import Pool

CODE = "storage_quota_exceeded"


class QuotaExceeded(Rejection):
    """The project may not store more bytes. The message names the quota and the bytes that are stored."""


class StorageQuota:
    """The quota of every project in bytes; None if there is none."""

    def __init__(self, pool: Pool, quota: int | None) -> None:
        self._pool = pool
        self._quota = quota

    async def require_free(self, project_id: str) -> None:
        """Raises QuotaExceeded if the project has used up its quota, so that nothing may be attached or indexed."""
        if self._quota is None:
            return
        stored = await self._count(project_id)
        if stored >= self._quota:
            message = (
                f"The storage quota of this project is used up: it has stored {stored} of {self._quota} bytes. Please"
                " delete files or vector stores that are not needed."
            )
            raise QuotaExceeded(message, code=CODE)

    async def require_room(self, project_id: str, more: int) -> None:
        """Raises QuotaExceeded if the project may not store `more` further bytes."""
        if self._quota is None:
            return
        stored = await self._count(project_id)
        if stored + more > self._quota:
            message = (
                f"The storage quota of this project would be exceeded: it has stored {stored} of {self._quota} bytes,"
                f" and {more} more were sent. Please delete files or vector stores that are not needed."
            )
            raise QuotaExceeded(message, code=CODE)

    async def _count(self, project_id: str) -> int:
        async with self._pool.acquire() as db:
            return await files.count_stored_bytes(db, project_id)
