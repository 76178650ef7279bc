"""Starts and stops the execution of runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.ids import IdSource
from service.model.base import Model
from service.processes.peers import Peers
from service.runs.images import PromptImages
from service.runs.supervisor import Supervisor
from service.storage.base import Blobs
from service.tasks.background import background
from service.tools.registry import Tools
from service.workers.shared_sessions import SharedSessions
from service.writer import Writer


@asynccontextmanager
async def runs_lifespan(
    writer: Writer,
    model: Model,
    peers: Peers,
    *,
    blobs: Blobs,
    tools: Tools,
    ids: IdSource,
    max_runs: int,
    allows_private_images: bool,
    sessions: SharedSessions | None,
) -> AsyncIterator[Supervisor]:
    """Yields the supervisor, which executes `max_runs` runs at once in the background.

    `sessions` are the sandbox sessions of the workers of this server, if there are several.
    """
    images = PromptImages(writer.pool, blobs, clock=writer.clock, allows_private_hosts=allows_private_images)
    supervisor = Supervisor(
        writer, model, peers, ids=ids, max_runs=max_runs, images=images, tools=tools, sessions=sessions
    )
    writer.feed.listen_to_threads(supervisor)
    writer.feed.listen_to_wakes(supervisor)
    peers.listen(supervisor)
    async with background(supervisor.run()):
        yield supervisor
