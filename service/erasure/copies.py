"""Removes the copies of a deleted object's data: everything outside the events of its stream.

Every removal does nothing if it is repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import structlog

from events import event_log
from events.actors import SweepActor
from events.envelope import Origin
from events.errors import DomainError, FileNotFound, NotFound
from events.file import DeleteFile
from events.streams import THREAD
from projections import erasures, files, thread_words
from projections.erasures import Erasure
from service.runs.artifacts import image_ids
from service.search.base import Indexer
from service.storage.base import Blobs, delete_unowned
from service.vector_stores.operations import remove_everywhere
from service.writer import Writer
from sql.connection import Connection
from sql.seals import ContentErased

log = structlog.get_logger()

_RESULTS = ("tool_call.finished",)
_FORKS = ("thread.forked",)


class CopyRemover:
    """Removes the copies of the data of deleted objects."""

    def __init__(self, writer: Writer, blobs: Blobs, indexer: Indexer) -> None:
        self._writer = writer
        self._blobs = blobs
        self._indexer = indexer

    async def remove(self, erasure: Erasure) -> None:
        """Removes the copies of one object. Raises the errors of the database and of the storage."""
        async with self._writer.pool.acquire() as db:
            await hide(db, erasure)
        match erasure.kind:
            case "thread":
                async with self._writer.pool.acquire() as db:
                    await thread_words.remove_threads(db, [erasure.stream_id])
                await self._remove_code_files(erasure.stream_id)
            case "file":
                await self._remove_file(erasure)
            case "vector_store":
                await self._indexer.remove(erasure.stream_id)
            case _:
                pass

    async def _remove_file(self, erasure: Erasure) -> None:
        origin = Origin(erasure.project_id, SweepActor())
        await remove_everywhere(self._writer, origin, erasure.stream_id)
        async with self._writer.pool.acquire() as db:
            blob = await files.created_blob(db, erasure.stream_id)
            if blob is not None and await files.find_unowned_blobs(db, [blob]):
                await self._blobs.delete([blob])

    async def _remove_code_files(self, thread_id: str) -> None:
        """Deletes the files that code of the thread made, unless a client attached them, or a fork shows them."""
        async with self._writer.pool.acquire() as db:
            if await _has_living_fork(db, thread_id):
                return
            made = dict[str, None]()
            async for event in _read_events(db, thread_id, _RESULTS):
                made |= dict.fromkeys([*(file.file_id for file in event.files), *image_ids(event.shown)])
            own = await erasures.find_own_files(db, list(made)) if made else []
        for file in own:
            origin = Origin(file.project_id, SweepActor(), cause=thread_id)
            async with self._writer.pool.acquire() as db:
                blob = await files.blob_key(db, file.id)
            try:
                await self._writer.file(origin, file.id, DeleteFile())
            except DomainError:
                continue  # it was deleted before
            await remove_everywhere(self._writer, origin, file.id)
            if blob is not None:
                await delete_unowned(self._blobs, [blob])
            log.info("code_file_removed", file=file.id, thread=thread_id)


async def hide(db: Connection, erasure: Erasure) -> None:
    """Removes what clients may still get of a deleted object: stored answers, queued deliveries, live deltas."""
    await erasures.remove_answers(db, erasure.stream_id, missing_answer(erasure))
    await erasures.drop_queued(db, erasure.stream_id)


async def find_forks(db: Connection, thread_id: str) -> list[str]:
    """Returns the threads that begin with the history of this one, also deleted ones."""
    return [event.fork_id async for event in _read_events(db, thread_id, _FORKS)]


async def _has_living_fork(db: Connection, thread_id: str) -> bool:
    """Whether a fork of the thread, or a fork of its forks, exists or may come to exist.

    A fork that its origin recorded and that has no stream yet may be created by the attempt that goes on, or by another
    one. If a deleted fork had forks and its events are erased, their ids cannot be read: they count as living.
    """
    seen, unread = {thread_id}, [thread_id]
    while unread:
        try:
            forks = set(await find_forks(db, unread.pop())) - seen
        except ContentErased:
            return True
        if forks and await erasures.existing_threads(db, forks):
            return True
        for fork_id in forks:
            if (await event_log.head(db, fork_id, THREAD)).version == 0:
                return True
        seen |= forks
        unread += forks
    return False


async def _read_events(db: Connection, stream_id: str, types: tuple[str, ...]) -> AsyncIterator[Any]:
    more, after = True, 0
    while more:
        page = await event_log.read_types(db, stream_id, types, after=after, until=event_log.NO_END)
        for recorded in page.recorded:
            yield recorded.event
            after = recorded.version
        more = page.more


def missing_answer(erasure: Erasure) -> bytes:
    """Returns the body that a repeated request gets: that of a request for an object that does not exist."""
    id, noun = erasure.stream_id, erasure.kind.replace("_", " ")
    error = FileNotFound(id) if erasure.kind == "file" else NotFound(noun, id)
    fields = {"message": error.message, "type": "invalid_request_error", "param": error.param, "code": None}
    return orjson.dumps({"error": fields})
