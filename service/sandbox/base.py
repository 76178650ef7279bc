"""The Protocol of a sandbox: a session that runs Python and keeps its state, and transfers files.

bubblewrap is one implementation; gVisor, a container platform or a hosted sandbox can replace it behind this Protocol.
Output of a sandbox is written by an adversary: an implementation bounds every answer and every wait, and guarantees
only that the bytes came from inside.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

MIB = 1024 * 1024
# The folder of files inside, and the working directory of the code.
DATA = "/mnt/data"
# The folder of fonts for documents. matplotlib has them in its own folder too.
FONTS = "/opt/fonts"


class SandboxUnavailable(Exception):
    """No sandbox is available here. The message is one line with the reason and the remedy."""


class SandboxDied(SandboxUnavailable):
    """A new sandbox ended before it was ready. It may have been killed, so that another one may start."""


class SandboxLost(Exception):
    """The session has ended, and its variables and files are lost. The message gives the reason for the model and the
    user.
    """


class FileRefused(Exception):
    """A file cannot be written or read: no space, no such file, too large. The session continues."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The resources that one sandbox may use, in bytes and seconds. `wall_s` bounds one call, `cpu_s` all together."""

    wall_s: float = 60.0
    cpu_s: int = 3600
    memory: int = 1024 * MIB
    processes: int = 64
    disk: int = 512 * MIB
    inodes: int = 16_384
    output: int = MIB
    images: int = 20
    image: int = 20 * MIB


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of printed output, which includes tracebacks and values of last expressions."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A plot or an image that the code displayed, as PNG or JPEG bytes."""

    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file below DATA that the call created or changed. `path` is relative to DATA."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of a call, always its last piece.

    `failed` says that the code raised. `notes` are lines for the model, such as an interrupt or cut output. `lost` is
    the reason if the session has ended; then it takes no more calls.
    """

    failed: bool = False
    changed: tuple[ChangedFile, ...] = ()
    notes: tuple[str, ...] = ()
    lost: str | None = None


Piece = Text | Image | CallEnd


class Sandbox(Protocol):
    """One session. Its user makes one call at a time."""

    def begin_call(self) -> None:
        """Starts the time that the exchanges of the next call may take together: its files in, code and files out."""
        ...

    async def put(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        """Writes a file at `path` below DATA. Raises FileRefused, SandboxLost, and errors of `chunks`."""
        ...

    async def arrange(self, gone: Sequence[str], names: Sequence[tuple[str, str]]) -> None:
        """Removes the files that were put under the paths `gone`, and gives each of `names`, (path, name), a second
        name in DATA. A name that the code itself uses stays as it is. Raises SandboxLost.
        """
        ...

    def execute(self, code: str) -> AsyncGenerator[Piece, None]:
        """Runs code. Yields pieces while it runs, and CallEnd at the end in every case."""
        ...

    def get(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of a regular file below DATA. Raises FileRefused, SandboxLost."""
        ...

    async def close(self) -> None:
        """Ends the session with all its processes. Does nothing if it is closed."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether the session is closed or lost."""
        ...

    def has_run_between_calls(self) -> bool:
        """Returns whether its processes run although no call does, so that the session must be ended."""
        ...

    @property
    def is_outdated(self) -> bool:
        """Whether a new session would have other packages, since more of them are made now."""
        ...


class SandboxSource(Protocol):
    """Opens sessions."""

    async def open(self) -> Sandbox:
        """Returns a new session. Raises SandboxUnavailable."""
        ...
