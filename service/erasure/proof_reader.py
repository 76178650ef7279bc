"""Reads what is left of a stream, in a thread with a connection of its own: the check folds the stream's events."""

from __future__ import annotations

import asyncio

from service.database import connect
from service.erasure.proof import ErasureProof, prove_erasure

# Seconds that the check of one stream may take, and checks at once in a process.
CHECK_S = 30.0
MAX_AT_ONCE = 2


class ErasureProofs:
    """Shows what is left of streams in the database at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    async def read(self, stream_id: str) -> ErasureProof | None:
        """Returns the proof; None if there is no such stream. Raises TimeoutError and the errors of the database."""
        async with self._places:
            return await asyncio.to_thread(_read_in_thread, self._url, stream_id)


def _read_in_thread(url: str, stream_id: str) -> ErasureProof | None:
    return asyncio.run(_read(url, stream_id))


async def _read(url: str, stream_id: str) -> ErasureProof | None:
    async with asyncio.timeout(CHECK_S):
        db = await connect(url, command_timeout_s=CHECK_S, is_lenient=True)
        try:
            return await prove_erasure(db, stream_id)
        finally:
            await db.close()
