"""Giving the chunks of older versions the words of the present rules (`words.WORD_RULES`).

A file is renewed page by page. Each page is a transaction that replaces the words of its chunks and changes the counts
of the store's words by the difference, so a search never misses a chunk, and an interrupted renewal continues with the
next call. Two processes may renew the same file: the second one changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import sql
from service.database import Pool
from service.search.embed_chunks import JobKey
from service.search.words import WORD_RULES, divide_text

# Files looked up at once, and chunks renewed in one transaction.
FILES, PAGE = 100, 64
RENEWAL_TIMEOUT_S = 60.0

_SQL = sql.queries("chunks")


class WordRenewal:
    """Renews the words of indexed files."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def run(self) -> int:
        """Renews every indexed file whose words are older; returns the number of these files."""
        count = 0
        async for key in self._older_files():
            await self._renew_file(key)
            count += 1
        return count

    async def _older_files(self) -> AsyncIterator[JobKey]:
        after = JobKey("", "", 0)
        while True:
            async with self._pool.acquire() as db:
                rows = await db.fetch(
                    _SQL["files_with_older_words"], WORD_RULES, after.store_id, after.file_id, after.job, FILES
                )
            for row in rows:
                after = JobKey(**row)
                yield after
            if len(rows) < FILES:
                return

    async def _renew_file(self, key: JobKey) -> None:
        chunk: int | None = -1
        while chunk is not None:
            chunk = await self._renew_page(key, chunk)
        async with self._pool.acquire() as db:
            await db.execute(_SQL["set_word_rules"], key.store_id, key.file_id, key.job, WORD_RULES)

    async def _renew_page(self, key: JobKey, after: int) -> int | None:
        """Renews the chunks that follow `after`; returns the last of them.

        Returns None if there are no more chunks, or if the file has been removed.
        """
        async with self._pool.acquire() as db:
            rows = await db.fetch(_SQL["texts"], key.store_id, key.file_id, key.job, after, PAGE)
            if not rows:
                return None
            words = await asyncio.to_thread(lambda: [divide_text(row["text"]) for row in rows])
            async with db.transaction():
                if not await db.fetchval(_SQL["lock_counted_file"], key.store_id, key.file_id, key.job):
                    return None
                await db.execute(
                    _SQL["replace_words"],
                    key.store_id,
                    key.file_id,
                    key.job,
                    [row["chunk"] for row in rows],
                    [each.language for each in words],
                    [each.spaced for each in words],
                    [each.pairs for each in words],
                    timeout=RENEWAL_TIMEOUT_S,
                )
            return int(rows[-1]["chunk"])
