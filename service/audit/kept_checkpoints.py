"""Checkpoints that are kept outside the database, beside the signing key: one a minute, and the newest of these.

`checkpoints/2026-11-28` has those of a day, each as a note followed by an empty line. `latest.checkpoint` is the newest
one, and `log.vkey` is the public key that verifies it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from service.audit.notes import Note, VerifierKey

DAYS = "checkpoints"
LATEST = "latest.checkpoint"
KEY = "log.vkey"
_SIGNATURE, _NEWLINE = "— ", "\n"


class CheckpointFolder:
    """The folder with the kept checkpoints. Its methods block, and raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, note: Note, at: datetime) -> None:
        """Adds a checkpoint."""
        days = self.path / DAYS
        days.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (days / at.date().isoformat()).open("ab+") as day:
            # A crash may have left a part of a checkpoint: an empty line ends it, so that it spoils no other one.
            day.seek(max(0, day.tell() - 2))
            end = day.read()
            divider = b"" if end in (b"", b"\n\n") else b"\n" if end.endswith(b"\n") else b"\n\n"
            day.write(divider + f"{note}\n".encode())
            day.flush()
            os.fsync(day.fileno())
        self._replace(LATEST, str(note))

    def read_days(self) -> Iterator[tuple[str, Path]]:
        """Yields the text of each kept checkpoint, oldest first, and the file that holds it.

        A part of one, which a crash or a person left, is yielded too. Bytes that are not UTF-8 are replaced.
        """
        days = self.path / DAYS
        for day in sorted(days.iterdir()) if days.is_dir() else []:
            # A note has an empty line before its signatures, and another one follows it.
            text = ""
            for part in filter(None, day.read_bytes().decode(errors="replace").split("\n\n")):
                if not part.startswith(_SIGNATURE):
                    if text:
                        yield text, day
                    text = part
                else:
                    yield f"{text}\n\n{part.removesuffix(_NEWLINE)}\n", day
                    text = ""
            if text:
                yield text, day

    @property
    def latest_path(self) -> Path:
        return self.path / LATEST

    def read_latest(self) -> str | None:
        """Returns the newest checkpoint, None if none was kept."""
        try:
            return self.latest_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def publish_key(self, key: VerifierKey) -> None:
        """Writes the public key of the log."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._replace(KEY, f"{key}\n")

    def _replace(self, name: str, text: str) -> None:
        new = self.path / f"{name}.{os.getpid()}"
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / name)
