"""The image files of a thread's messages as models take them: data URLs, made when a prompt is.

The newest are taken first, up to a limit in bytes. What is gone, no image, or over the limit is left out, as if it had
never been sent.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

import structlog

from events.clock import Clock
from events.objects import File, Message, Step
from projections import files
from service.database import Pool
from service.runs.prompt import Entry
from service.storage.base import BlobMissing, Blobs

log = structlog.get_logger()

# Bytes of one image, and of all images of a prompt: what upstreams take, and what a run may hold in memory.
MAX_IMAGE = 20 * 1024**2
MAX_IMAGES = 32 * 1024**2
# A file's type is what its first bytes say; only these are images to models.
_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


class Images:
    def __init__(self, pool: Pool, blobs: Blobs, *, clock: Clock) -> None:
        self._pool = pool
        self._blobs = blobs
        self._clock = clock

    async def shown(self, project_id: str, entries: Sequence[Entry]) -> list[Entry]:
        """The entries with every image_file part as an image_url part, or without it. Raises StorageError."""
        newest = sorted(entries, key=lambda pair: pair[0], reverse=True)
        wanted = list(dict.fromkeys(id for _, entry in newest if _asks(entry) for id in _named(entry)))
        if not wanted:
            return list(entries)
        async with self._pool.acquire() as db:
            there = await files.find(db, project_id, wanted, self._clock.now())
        urls, left = dict[str, str](), MAX_IMAGES
        for file_id in wanted:
            file = there.get(file_id)
            if file is None or file.bytes > min(MAX_IMAGE, left):
                continue
            url = await self._url(file)
            if url is not None:
                urls[file_id] = url
                left -= file.bytes
        shown = [(at, _with(entry, urls) if _asks(entry) else entry) for at, entry in entries]
        return [(at, entry) for at, entry in shown if not isinstance(entry, Message) or entry.content]

    async def _url(self, file: File) -> str | None:
        try:
            content = b"".join([piece async for piece in self._blobs.read(file.blob)])
        except BlobMissing:
            log.error("a file has no bytes", file=file.id)
            return None
        kind = next((kind for start, kind in _TYPES.items() if content.startswith(start)), None)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            kind = "image/webp"
        return f"data:{kind};base64,{base64.b64encode(content).decode()}" if kind else None


def _asks(entry: Message | Step) -> TypeGuard[Message]:
    """Whether it is a user's message: what assistants show is told of in words."""
    return isinstance(entry, Message) and entry.role == "user"


def _named(message: Message) -> Iterator[str]:
    for part in message.content:
        if part["type"] == "image_file":
            yield part["image_file"]["file_id"]


def _with(message: Message, urls: Mapping[str, str]) -> Message:
    content = []
    for part in message.content:
        if part["type"] != "image_file":
            content.append(part)
        elif url := urls.get(part["image_file"]["file_id"]):
            image = {"url": url, "detail": part["image_file"].get("detail", "auto")}
            content.append({"type": "image_url", "image_url": image})
    return replace(message, content=content)
