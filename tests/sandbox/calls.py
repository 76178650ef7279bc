"""A call as a test wants it: all pieces, added up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.sandbox.base import CallEnd, Image, Sandbox, Text


@dataclass(frozen=True, slots=True)
class Said:
    """`shown` has every image as its kind in angle brackets, where it came."""

    shown: str
    images: list[bytes]
    done: CallEnd


async def say(sandbox: Sandbox, code: str) -> Said:
    shown, images = "", []
    async for piece in sandbox.execute(code):
        match piece:
            case Text(text=text):
                shown += text
            case Image(mime=mime, data=data):
                shown += f"<{mime}>"
                images.append(data)
            case CallEnd():
                return Said(shown, images, piece)
    raise AssertionError("a call without an end")


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def fetched(sandbox: Sandbox, path: str, at_most: int = 1_000_000) -> bytes:
    return b"".join([piece async for piece in sandbox.get(path, at_most)])
