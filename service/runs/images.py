"""Replaces the image files of a thread's messages by data URLs, which models accept, when a prompt is built.

The model server fetches the other images by their URLs. Those that a message may not have are replaced by a text: they
were stored by a release that did not check them, or under another setting.

The newest images are taken first, up to a limit in bytes. Files that are deleted, are no images, or exceed the limit
are left out of the prompt.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import structlog

from events.clock import Clock
from events.objects import File, Message, Step
from projections import files
from service.addresses import is_image_url, is_public_image_url
from service.database import Pool
from service.runs.prompt import Entry
from service.storage.base import BlobMissing, Blobs
from service.storage.checked_read import BlobChanged, KnownBlob, read_checked

log = structlog.get_logger()

# Maximum size in bytes of one image, which upstreams accept, and of all images of a prompt, which bounds memory.
MAX_IMAGE = 20 * 1024**2
MAX_IMAGES = 32 * 1024**2
# Bytes of an image that are encoded in one step, in which the event loop waits. A multiple of three has no padding.
PIECE = 3 * 128 * 1024
# Stands in the prompt for an image whose URL a message may not have.
HIDDEN = {"type": "text", "text": {"value": "[image_url: not shown, its URL is not allowed]", "annotations": []}}
# Image types that models accept, by the first bytes of a file.
_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@dataclass(frozen=True, slots=True)
class ShownImages:
    """Entries with their images as URLs. `hashes` has the SHA-256 (hexadecimal) of each image file that is shown.

    `has_hidden` says that a text stands for an image whose URL a message may not have.
    """

    entries: list[Entry]
    hashes: dict[str, str]
    has_hidden: bool


class PromptImages:
    def __init__(self, pool: Pool, blobs: Blobs, *, clock: Clock, allows_private_hosts: bool) -> None:
        self._pool = pool
        self._blobs = blobs
        self._clock = clock
        self._is_allowed = is_image_url if allows_private_hosts else is_public_image_url

    async def with_image_urls(self, project_id: str, entries: Sequence[Entry]) -> ShownImages:
        """Returns the entries with image_url parts in place of image_file parts, or without. Raises StorageError."""
        shown = [(at, self._hide_refused_urls(entry) if _is_user_message(entry) else entry) for at, entry in entries]
        has_hidden = any(before is not after for (_, before), (_, after) in zip(entries, shown, strict=True))
        newest = sorted(shown, key=lambda pair: pair[0], reverse=True)
        wanted = list(
            dict.fromkeys(id for _, entry in newest if _is_user_message(entry) for id in _image_file_ids(entry))
        )
        if not wanted:
            return ShownImages(shown, {}, has_hidden)
        async with self._pool.acquire() as db:
            existing = await files.find(db, project_id, wanted, self._clock.now())
        urls, hashes, left = dict[str, str](), dict[str, str](), MAX_IMAGES
        for file_id in wanted:
            file = existing.get(file_id)
            if file is None or file.bytes > min(MAX_IMAGE, left):
                continue
            url = await self._url(file)
            if url is not None:
                urls[file_id], hashes[file_id] = url, file.sha256 or ""
                left -= file.bytes
        return ShownImages(replace_images(shown, urls), hashes, has_hidden)

    def _hide_refused_urls(self, message: Message) -> Message:
        refused = {
            number
            for number, part in enumerate(message.content)
            if part["type"] == "image_url" and not self._is_allowed(part["image_url"]["url"])
        }
        if not refused:
            return message
        return replace(message, content=[HIDDEN if n in refused else part for n, part in enumerate(message.content)])

    async def _url(self, file: File) -> str | None:
        try:
            pieces = read_checked(self._blobs, KnownBlob(key=file.blob, size=file.bytes, sha256=file.sha256))
            content = b"".join([piece async for piece in pieces])
        except BlobMissing:
            log.error("file_blob_missing", file=file.id)
            return None
        except BlobChanged:  # which is logged
            return None
        return await asyncio.to_thread(data_url, content)


def replace_images(entries: Sequence[Entry], urls: Mapping[str, str]) -> list[Entry]:
    """Returns the entries with the image files of users as these URLs by file id. Other files are left out."""
    replaced = [(at, _replace_images(entry, urls) if _is_user_message(entry) else entry) for at, entry in entries]
    return [(at, entry) for at, entry in replaced if not isinstance(entry, Message) or entry.content]


def data_url(content: bytes) -> str | None:
    """Returns the image as a URL, or None if it is no image. To call it in a thread lets the event loop run."""
    type = next((type for start, type in _TYPES.items() if content.startswith(start)), None)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        type = "image/webp"
    if type is None:
        return None
    pieces = (base64.b64encode(content[at : at + PIECE]).decode() for at in range(0, len(content), PIECE))
    return "".join([f"data:{type};base64,", *pieces])


def _is_user_message(entry: Message | Step) -> TypeGuard[Message]:
    """Whether the entry is a user's message. Images of assistants are only mentioned in prompts (`prompt`)."""
    return isinstance(entry, Message) and entry.role == "user"


def _image_file_ids(message: Message) -> Iterator[str]:
    for part in message.content:
        if part["type"] == "image_file":
            yield part["image_file"]["file_id"]


def _replace_images(message: Message, urls: Mapping[str, str]) -> Message:
    content = []
    for part in message.content:
        if part["type"] != "image_file":
            content.append(part)
        elif url := urls.get(part["image_file"]["file_id"]):
            image = {"url": url, "detail": part["image_file"].get("detail", "auto")}
            content.append({"type": "image_url", "image_url": image})
    return replace(message, content=content)
