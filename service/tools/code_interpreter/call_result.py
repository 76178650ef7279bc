"""What a call has brought so far: outputs in the API's shapes, and what the model will read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.sandbox.base import Changed, Done
from service.tools.base import ImagePiece, LogPiece, ProducedFile, ToolResult
from service.tools.code_interpreter import texts


@dataclass(slots=True)
class Account:
    """`room` is how many bytes of files the call may still hand on."""

    room: int
    outputs: list[dict[str, Any]] = field(default_factory=list)
    files: list[ProducedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changed: Sequence[Changed] = ()
    images: int = 0
    failed: bool = False

    def printed(self, text: str) -> LogPiece:
        if not self.outputs or self.outputs[-1]["type"] != "logs":
            self.outputs.append({"type": "logs", "logs": ""})
        self.outputs[-1]["logs"] += text
        return LogPiece(len(self.outputs) - 1, text)

    def showed(self, file_id: str) -> ImagePiece:
        self.images += 1
        self.outputs.append({"type": "image", "image": {"file_id": file_id}})
        return ImagePiece(len(self.outputs) - 1, file_id)

    def done(self, done: Done) -> None:
        self.failed = done.failed
        self.notes += [f"Note: {note}" for note in done.notes]
        if done.lost is not None:
            self.lost(done.lost)
        else:
            self.changed = done.changed

    def lost(self, why: str) -> None:
        self.failed = True
        self.notes.append(
            f"Note: the Python session was lost: {why}. Variables and imports are gone; the next call starts a new one."
        )

    def result(self, room: int) -> ToolResult:
        """`room` is how many characters of its text the model will be shown."""
        logs = "".join(output["logs"] for output in self.outputs if output["type"] == "logs")
        made = [file.path for file in self.files]
        text = texts.told(logs, self.images, made, self.notes, room, failed=self.failed)
        return ToolResult(text=text, outputs=self.outputs, files=self.files, failed=self.failed)
