"""The quota of stored bytes of a project: its files, the parts of its pending uploads, and its vector stores' usage.

The bytes are counted in the database when they are about to be stored and again when they have arrived. So uploads at
the same time can exceed the quota together, by one upload each at most, and the next one is refused.
"""

from __future__ import annotations

from events.errors import Rejection
from projections import files
from service.database import Pool

CODE = "storage_quota_exceeded"


class QuotaExceeded(Rejection):
    """The project may not store so many more bytes. The message names the quota and the bytes that are stored."""


class StorageQuota:
    """The quota of every project in bytes; None if there is none."""

    def __init__(self, pool: Pool, quota: int | None) -> None:
        self._pool = pool
        self._quota = quota

    async def require_room(self, project_id: str, more: int) -> None:
        """Raises QuotaExceeded if the project may not store `more` further bytes."""
        if self._quota is None:
            return
        async with self._pool.acquire() as db:
            stored = await files.count_stored_bytes(db, project_id)
        if stored + more > self._quota:
            message = (
                f"The storage quota of this project would be exceeded: it has stored {stored} of {self._quota} bytes,"
                f" and {more} more were sent. Please delete files or vector stores that are not needed."
            )
            raise QuotaExceeded(message, code=CODE)
