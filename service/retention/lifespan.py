"""Starts and stops the deletion of idle threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.retention.idle import IdleThreads
from service.tasks.background import background
from service.writer import Writer


@asynccontextmanager
async def retention_lifespan(writer: Writer) -> AsyncIterator[None]:
    """Deletes idle threads in the background."""
    async with background(IdleThreads(writer).run()):
        yield
