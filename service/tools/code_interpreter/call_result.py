"""The result of a call while it runs: outputs in the API's shapes, and the text for the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.sandbox.base import CallEnd, ChangedFile
from service.tools.base import ImagePiece, LogPiece, ProducedFile, ToolResult
from service.tools.code_interpreter import texts


@dataclass(slots=True)
class CallResult:
    """`room` is the number of bytes of files that the call may still return."""

    room: int
    outputs: list[dict[str, Any]] = field(default_factory=list)
    files: list[ProducedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changed: Sequence[ChangedFile] = ()
    images: int = 0
    failed: bool = False

    def add_logs(self, text: str) -> LogPiece:
        if not self.outputs or self.outputs[-1]["type"] != "logs":
            self.outputs.append({"type": "logs", "logs": ""})
        self.outputs[-1]["logs"] += text
        return LogPiece(len(self.outputs) - 1, text)

    def add_image(self, file_id: str) -> ImagePiece:
        self.images += 1
        self.outputs.append({"type": "image", "image": {"file_id": file_id}})
        return ImagePiece(len(self.outputs) - 1, file_id)

    def finish(self, done: CallEnd) -> None:
        self.failed = done.failed
        self.notes += [f"Note: {note}" for note in done.notes]
        if done.lost is not None:
            self.lose_session(done.lost)
        else:
            self.changed = done.changed

    def lose_session(self, why: str) -> None:
        self.failed = True
        self.notes.append(
            f"Note: the Python session was lost: {why}. Variables and imports are gone; the next call starts a new one."
        )

    def result(self, room: int) -> ToolResult:
        """Returns the result; `room` is the number of characters of its text that fit into the prompt."""
        logs = "".join(output["logs"] for output in self.outputs if output["type"] == "logs")
        made = [file.path for file in self.files]
        text = texts.result_text(logs, self.images, made, self.notes, room, failed=self.failed)
        return ToolResult(text=text, outputs=self.outputs, files=self.files, failed=self.failed)
