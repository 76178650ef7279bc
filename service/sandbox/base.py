"""What the rest asks of a sandbox: a session that runs Python and keeps its state, with files going in and out.

bubblewrap is one implementation; gVisor, a container platform or a hosted sandbox can stand in by this Protocol. What
comes out of a sandbox was written by an adversary: an implementation bounds every answer and every wait, and promises
no more than that the bytes came from inside.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

MIB = 1024 * 1024
# Where files lie inside, and where relative paths of the code lead.
DATA = "/mnt/data"


class SandboxUnavailable(Exception):
    """No sandbox can be had here; the message is one line that says why and what to do."""


class SandboxLost(Exception):
    """The session is gone, with its variables and files; the message says why, for the model and the user."""


class FileRefused(Exception):
    """A file cannot be put or got: no space, no such file, too large. The session goes on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use. Bytes and seconds."""

    wall_s: float = 60.0
    memory: int = 1024 * MIB
    processes: int = 64
    disk: int = 512 * MIB
    inodes: int = 16_384
    output: int = MIB
    images: int = 20
    image: int = 20 * MIB


@dataclass(frozen=True, slots=True)
class Text:
    """What the code printed, in pieces; tracebacks and last expressions too."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A plot or image that the code showed, as PNG or JPEG bytes."""

    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Changed:
    """A file below DATA that the call made or changed. `path` is relative to DATA."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Done:
    """A call's end, always the last piece.

    `failed` where the code raised; `notes` are lines for the model: interrupted, output cut. `lost` says why the
    session is gone, where it is; then nothing more can be asked of it.
    """

    failed: bool = False
    changed: tuple[Changed, ...] = ()
    notes: tuple[str, ...] = ()
    lost: str | None = None


Piece = Text | Image | Done


class Sandbox(Protocol):
    """One session. A call at a time; the caller sees to that."""

    async def put(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Writes a file, `path` below DATA. Raises FileRefused, SandboxLost, and what `chunks` raises."""
        ...

    async def arrange(self, gone: Sequence[str], names: Sequence[tuple[str, str]]) -> None:
        """Removes the files that were put under the paths `gone`, and gives those of `names`, (path, name), a second
        name in DATA. What the code itself has under a name stays. Raises SandboxLost."""
        ...

    def execute(self, code: str) -> AsyncGenerator[Piece, None]:
        """Runs code; pieces come as it runs, and Done at last, whatever happens."""
        ...

    def get(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a regular file below DATA, piece by piece. Raises FileRefused, SandboxLost."""
        ...

    async def close(self) -> None:
        """Ends it with all its processes. Harmless when closed."""
        ...

    @property
    def lost(self) -> bool:
        """Whether it is closed or gone."""
        ...


class Sandboxes(Protocol):
    """Where sessions come from."""

    async def open(self) -> Sandbox:
        """A session that nobody had before. Raises SandboxUnavailable."""
        ...
