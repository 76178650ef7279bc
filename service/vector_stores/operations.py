"""Operations on vector stores that several parts of the server share, beyond single commands."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from time import monotonic

from events.envelope import Origin
from events.errors import NotFound
from events.objects import VectorStore
from events.vector_store.commands import RemoveFile, UseStore
from events.vector_store.decide import NOUN
from events.vector_store.state import is_use_worth_recording
from projections import vector_store_files as files
from projections import vector_stores as stores
from service.writer import Writer
from sql.connection import Connection


async def remove_file(writer: Writer, origin: Origin, store_id: str, file_id: str) -> None:
    """Removes a file from a store. Does nothing if the file or the store does not exist."""

    async def ask(db: Connection) -> RemoveFile:
        return RemoveFile(file_id, await files.fact(db, store_id, file_id))

    try:
        await writer.vector_store(origin, store_id, ask)
    except NotFound:
        return


async def remove_everywhere(writer: Writer, origin: Origin, file_id: str) -> None:
    """Removes a file, whose File has just been deleted, from all stores of its project.

    Upkeep removes it from a store to which it is being added at the same moment.
    """
    async with writer.pool.acquire() as db:
        store_ids = await files.stores_with_file(db, origin.project_id, file_id)
    for store_id in store_ids:
        await remove_file(writer, origin, store_id, file_id)


async def get_stores(db: Connection, project_id: str, store_ids: Sequence[str], at: datetime) -> list[VectorStore]:
    """Returns the stores in order. Raises NotFound for the first that does not exist."""
    existing = await stores.find(db, project_id, store_ids, at)
    for id in store_ids:
        if id not in existing:
            raise NotFound(NOUN, id)
    return [existing[id] for id in store_ids]


async def record_use(writer: Writer, origin: Origin, used: Collection[VectorStore]) -> None:
    """Records a use of the stores, which postpones their expiry."""
    for store in used:
        if is_use_worth_recording(store.created_at, store.last_active_at, writer.clock.now()):
            await writer.vector_store(origin, store.id, UseStore())


async def wait_until_indexed(writer: Writer, project_id: str, store_ids: Collection[str], patience: float) -> None:
    """Waits until no file of the stores is in progress, but at most `patience` seconds."""
    until = monotonic() + patience
    for store_id in store_ids:
        with writer.feed.watch(store_id) as watcher:
            while monotonic() < until:
                async with writer.pool.acquire() as db:
                    existing = await stores.find(db, project_id, [store_id], writer.clock.now())
                if store_id not in existing or not existing[store_id].in_progress:
                    break
                try:
                    async with asyncio.timeout(until - monotonic()):
                        await watcher.take()
                except TimeoutError:
                    break
