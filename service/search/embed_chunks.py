"""From a file's chunks in the database to vectors beside them, window by window.

The chunks are read in order, a page at a time. A window that two neighbours share is embedded once, for both; so what
the last chunk of a page has waits for the next page.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg
import orjson

import sql
from service.database import Pool
from service.search.embed.base import Embedder, Vector
from service.search.vector_tables import Model, Models
from sql.connection import Connection

# Chunks read back at once.
PAGE = 64
WRITE_TIMEOUT = 60.0

# A store, a file, and the job that made its chunks.
Key = tuple[str, str, int]
_SQL = sql.queries("chunks")


@dataclass(slots=True)
class _Window:
    """A part of the text to embed, for the chunks from `first` to `last`."""

    text: str
    first: int
    last: int
    number: int


@dataclass(slots=True)
class Embedded:
    """What was made of a file's chunks. `waiting` are windows by where they lie in the text, not embedded yet."""

    chunks: int = 0
    windows: int = 0
    dimensions: int = 0
    waiting: OrderedDict[tuple[int, int], _Window] = field(default_factory=OrderedDict)

    def add(self, row: asyncpg.Record, *, windowed: bool) -> None:
        """A chunk's windows to those that wait; blank ones say nothing that could be found."""
        text: str = row["text"]
        cuts = row["cuts"] if windowed else [0]
        for begin, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
            part = text[begin:end]
            span = (row["start"] + begin, row["start"] + end)
            if part.isspace():
                continue
            if span in self.waiting:
                self.waiting[span].last = row["chunk"]
                continue
            self.waiting[span] = _Window(part, row["chunk"], row["chunk"], self.windows)
            self.windows += 1
        self.chunks += 1

    def taken(self, last: int | None, count: int) -> list[_Window]:
        """At most `count` windows that no chunk behind `last` can share; None where there is none behind."""
        ready = [span for span, window in self.waiting.items() if last is None or window.last < last]
        return [self.waiting.pop(span) for span in ready[:count]]


async def embed_chunks(
    pool: Pool, models: Models, embedder: Embedder, key: Key, check: Callable[[Connection], Awaitable[None]]
) -> Embedded:
    """Writes the vectors of all chunks under `key`; `check` raises, in each write's transaction, where it may not be.

    Raises EmbeddingError, what `check` raises and what the database raises.
    """
    done, after = Embedded(), -1
    while True:
        async with pool.acquire() as db:
            rows = await db.fetch(_SQL["page"], *key, after, PAGE)
        for row in rows:
            done.add(row, windowed=embedder.windowed)
        last = rows[-1]["chunk"] if len(rows) == PAGE else None
        while windows := done.taken(last, embedder.batch):
            vectors = await embedder.embed([window.text for window in windows])
            model = await models.take(embedder.name, len(vectors[0]))
            done.dimensions = model.dimensions
            async with pool.acquire() as db, db.transaction():
                await check(db)
                await _insert(db, key, model, windows, vectors)
        if last is None:
            return done
        after = last


async def _insert(
    db: Connection, key: Key, model: Model, windows: Sequence[_Window], vectors: Sequence[Vector]
) -> None:
    columns = (
        [window.first for window in windows],
        [window.last for window in windows],
        [window.number for window in windows],
        [orjson.dumps(list(vector)).decode() for vector in vectors],
    )
    await db.execute(_SQL["insert_vectors"], *key, model.id, *columns, timeout=WRITE_TIMEOUT)
