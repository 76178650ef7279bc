"""Starts and stops the eraser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from service.erasure.copies import CopyRemover
from service.erasure.eraser import Eraser
from service.erasure.forget_list import ForgetList
from service.erasure.repetition import forget_again
from service.processes.peers import ERASED_CHANNEL, Peers, notify_channel
from service.search.base import Indexer
from service.storage.base import Blobs
from service.tasks.background import background
from service.writer import Writer


@asynccontextmanager
async def erasure_lifespan(
    writer: Writer, blobs: Blobs, indexer: Indexer, peers: Peers, *, folder: Path, has_restored: bool
) -> AsyncIterator[Eraser]:
    """Yields the eraser, which works in the background. `folder` has the forget-list.

    If the operator `has_restored` the database, the streams of the list are erased again before this context opens.
    """
    announce = partial(_announce, writer, peers)
    forget_list = ForgetList(folder)
    eraser = Eraser(
        writer,
        CopyRemover(writer, blobs, indexer),
        forget_list=forget_list,
        process=peers.process,
        announce=announce,
    )
    if has_restored:
        await forget_again(writer, eraser, forget_list, process=peers.process)
    async with background(eraser.run()):
        yield eraser


async def _announce(writer: Writer, peers: Peers, stream_ids: Sequence[str]) -> None:
    async with writer.pool.acquire() as db:
        await notify_channel(db, ERASED_CHANNEL, peers.process, stream_ids)
