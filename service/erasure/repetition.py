"""Erases again the streams of the forget-list that a restored database has (`service.erasure.forget_list`)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from events.actors import ProcessActor
from events.assistant import DeleteAssistant
from events.envelope import Origin
from events.errors import DomainError
from events.file import DeleteFile
from events.streams import STREAM_TYPES
from events.thread.commands import DeleteThread
from events.vector_store.commands import DeleteStore
from events.webhook_endpoint import DeleteEndpoint
from projections import erasures
from service.erasure.eraser import Eraser
from service.erasure.forget_list import ForgetList
from service.writer import Writer

log = structlog.get_logger()

# Streams of the list that are looked up at once.
PAGE = 500
_DELETIONS: Mapping[str, Any] = {
    "assistant": DeleteAssistant(),
    "file": DeleteFile(),
    "thread": DeleteThread(),
    "vector_store": DeleteStore(),
    "webhook_endpoint": DeleteEndpoint(),
}


async def forget_again(writer: Writer, eraser: Eraser, forget_list: ForgetList, *, process: int) -> None:
    """Deletes the objects of the list whose keys the database has, and destroys the keys. Nobody is served meanwhile.

    Raises the errors of the database, and OSError if the list cannot be read.
    """
    listed = [(stream_id, key_id) for key_id, stream_id in forget_list.load().items()]
    count = 0
    for start in range(0, len(listed), PAGE):
        async with writer.pool.acquire() as db:
            found = await erasures.find_with_keys(db, listed[start : start + PAGE])
        for stream in found:
            origin = Origin(stream.project_id, ProcessActor(process), cause="restore")
            with suppress(DomainError):  # the restored database has its deletion
                await writer.write(STREAM_TYPES[stream.kind], origin, stream.id, _DELETIONS[stream.kind])
        async with writer.pool.acquire() as db:
            await erasures.add_deleted(db, [stream.id for stream in found])
        count += len(found)
    if count:
        await eraser.erase()
        log.warning("streams_forgotten_again", count=count, list=str(forget_list.path))
