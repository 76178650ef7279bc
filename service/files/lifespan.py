"""Starts and stops the sweep of files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.files.sweep import Sweep
from service.storage.base import Blobs
from service.tasks.background import background
from service.writer import Writer


@asynccontextmanager
async def files_lifespan(writer: Writer, blobs: Blobs) -> AsyncIterator[None]:
    """Removes expired files, uploads and unowned bytes in the background."""
    async with background(Sweep(writer, blobs).run()):
        yield
