"""Starts and stops the indexing of files and the upkeep of vector stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.ids import IdSource
from service.fair_places import OpenPlaces
from service.processes.peers import Peers
from service.search.base import Indexer
from service.storage.base import Blobs
from service.tasks.background import background
from service.vector_stores.attachments import Attachments
from service.vector_stores.builder import StoreBuilder
from service.vector_stores.jobs import QuotaCheck
from service.vector_stores.services import VectorStoreServices
from service.vector_stores.supervisor import IndexingSupervisor
from service.vector_stores.upkeep import Upkeep
from service.writer import Writer


@asynccontextmanager
async def vector_stores_lifespan(
    writer: Writer,
    indexer: Indexer,
    blobs: Blobs,
    peers: Peers,
    *,
    check_quota: QuotaCheck,
    ids: IdSource,
    max_jobs: int,
    job_timeout_s: int,
    max_files: int,
    open_places: OpenPlaces,
) -> AsyncIterator[VectorStoreServices]:
    """Yields the services of vector stores.

    In the background, files are indexed, `max_jobs` of a project at once (see IndexingSupervisor), each attempt for
    `job_timeout_s` seconds at most. A vector store can have `max_files` files. `check_quota` refuses files of a project
    that stores too much.
    """
    indexing = IndexingSupervisor(
        writer,
        indexer,
        blobs,
        peers,
        check_quota=check_quota,
        ids=ids,
        max_jobs=max_jobs,
        lifetime=job_timeout_s,
        open_places=open_places,
    )
    upkeep = Upkeep(writer, indexer)
    writer.feed.listen_to_stores(indexing)
    writer.feed.listen_to_wakes(indexing)
    peers.listen(indexing)
    peers.listen(upkeep)
    async with background(indexing.run(), upkeep.run()):
        builder = StoreBuilder(
            writer,
            check_quota=check_quota,
            embedding_model=indexer.embedding_model,
            can_index=indexer.can_index,
            max_files=max_files,
        )
        yield VectorStoreServices(builder=builder, attachments=Attachments(builder))
