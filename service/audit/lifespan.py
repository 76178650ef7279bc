"""Starts and stops the audit of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from events.ids import IdSource
from service.audit.acts import ActRecorder
from service.audit.sequencer import Sequencer
from service.database import Pool
from service.feed import Feed
from service.processes.peers import Peers
from service.tasks.background import background
from service.writer import Writer


@asynccontextmanager
async def audit_lifespan(
    writer: Writer, *, process: int, settings: Mapping[str, str], ids: IdSource
) -> AsyncIterator[ActRecorder]:
    """Yields the recorder of acts, after it has recorded this start. `settings` are those that it names."""
    acts = ActRecorder(writer, process=process, ids=ids)
    await acts.start(settings)
    async with background(acts.run()):
        yield acts


@asynccontextmanager
async def sequencer_lifespan(pool: Pool, feed: Feed, peers: Peers) -> AsyncIterator[Sequencer]:
    """Yields the sequencer of this process, which works in the background and is woken by appends."""
    sequencer = Sequencer(pool, peers)
    feed.listen_to_threads(sequencer)
    feed.listen_to_stores(sequencer)
    feed.listen_to_wakes(sequencer)
    async with background(sequencer.run()):
        yield sequencer
