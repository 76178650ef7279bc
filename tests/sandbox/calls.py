"""Runs a call and adds up its pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from service.sandbox.base import CallEnd, Image, Sandbox, Text
from service.sandbox.bubblewrap import SandboxLauncher


@dataclass(frozen=True, slots=True)
class Said:
    """The result of a call. `shown` holds the kind of each image in angle brackets at its position."""

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


def control_groups(launcher: SandboxLauncher) -> list[Path]:
    """Returns the folders of the control groups that this process has created and not removed."""
    return [folder for folder in launcher.cgroups._all() if folder.name.startswith(launcher.cgroups._owner)]
