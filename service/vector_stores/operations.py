"""What several parts of the server do with vector stores, beyond single commands."""

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
from service.search.base import StoreRef
from service.writer import Writer
from sql.connection import Connection


async def remove_file(writer: Writer, origin: Origin, store_id: str, file_id: str) -> None:
    """Takes a file out of a store. Nothing happens where either is not there (any more)."""

    async def ask(db: Connection) -> RemoveFile:
        return RemoveFile(file_id, await files.fact(db, store_id, file_id))

    try:
        await writer.vector_store(origin, store_id, ask)
    except NotFound:
        return


async def remove_everywhere(writer: Writer, origin: Origin, file_id: str) -> None:
    """Takes a file whose File has just gone out of all stores of its project. What is missed is left to upkeep."""
    async with writer.pool.acquire() as db:
        holding = await files.stores_with_file(db, origin.project_id, file_id)
    for store_id in holding:
        await remove_file(writer, origin, store_id, file_id)


async def found(db: Connection, project_id: str, store_ids: Sequence[str], at: datetime) -> list[VectorStore]:
    """The stores, in order. Raises NotFound for the first that is not there."""
    there = await stores.find(db, project_id, store_ids, at)
    for id in store_ids:
        if id not in there:
            raise NotFound(NOUN, id)
    return [there[id] for id in store_ids]


async def use(writer: Writer, origin: Origin, used: Collection[VectorStore]) -> list[StoreRef]:
    """Counts as a use of the stores, which moves their ends; returns them as searches want them."""
    for store in used:
        if is_use_worth_recording(store.created_at, store.last_active_at, writer.clock.now()):
            await writer.vector_store(origin, store.id, UseStore())
    return [StoreRef(store.id, store.embedding_model) for store in used]


async def settled(writer: Writer, project_id: str, store_ids: Collection[str], patience: float) -> list[VectorStore]:
    """Those of the stores that are there, once none of their files is in progress; after `patience` s as they are."""
    until = monotonic() + patience
    for store_id in store_ids:
        with writer.feed.watch(store_id) as watcher:
            while monotonic() < until:
                async with writer.pool.acquire() as db:
                    there = await stores.find(db, project_id, [store_id], writer.clock.now())
                if store_id not in there or not there[store_id].in_progress:
                    break
                try:
                    async with asyncio.timeout(until - monotonic()):
                        await watcher.take()
                except TimeoutError:
                    break
    async with writer.pool.acquire() as db:
        there = await stores.find(db, project_id, store_ids, writer.clock.now())
    return [there[id] for id in store_ids if id in there]
