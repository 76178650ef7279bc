"""Builds the fields of a hosted call in its step: cleaned, bounded, and in the API's shapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from events.objects import Json
from service.model.errors import to_storable
from service.tools.base import MAX_SHOWN, ToolResult

# Maximum number of outputs of one call.
MAX_OUTPUTS = 200


class OutputPieces:
    """The outputs of a code_interpreter call so far, within MAX_SHOWN bytes and MAX_OUTPUTS.

    A piece must belong to the last output or begin the next one. Other pieces are dropped; the result of the call has
    them.
    """

    def __init__(self) -> None:
        self._outputs: list[Json] = []
        self._room = MAX_SHOWN

    def add_logs(self, index: int, text: str) -> str:
        """Adds text to the logs of an output. Returns the part of the text that was added."""
        text = cut_to_bytes(text, self._room)
        last = len(self._outputs) - 1
        if not text or index >= MAX_OUTPUTS or index not in (last, last + 1):
            return ""
        if index > last:
            self._outputs.append({"type": "logs", "logs": ""})
        elif self._outputs[index]["type"] != "logs":
            return ""
        self._room -= len(text.encode())
        self._outputs[index]["logs"] += text
        return text

    def add_image(self, index: int, file_id: str) -> bool:
        """Adds an image. Returns whether it was added."""
        if index >= MAX_OUTPUTS or index != len(self._outputs):
            return False
        self._outputs.append({"type": "image", "image": {"file_id": file_id}})
        return True

    def step_fields(self, type: str) -> Json:
        """Returns the step's fields of the call; none if the tool has no outputs."""
        return {"outputs": [dict(one) for one in self._outputs]} if type == "code_interpreter" else {}


def cut_to_bytes(text: str, room: int) -> str:
    """Returns the longest beginning of the text that takes at most `room` bytes."""
    if len(text) * 4 <= room:
        return text
    return text.encode()[: max(0, room)].decode(errors="ignore")


def step_fields(type: str, result: ToolResult) -> Json:
    """Returns the step's fields of a finished call, of at most MAX_SHOWN bytes."""
    if type == "file_search":
        return {"results": list(_bounded_results(result.results))}
    return {"outputs": _bounded_outputs(result.outputs)}


def cut_note(size: int, images: int) -> str:
    """Returns the end of logs that were cut: the bytes and the images that were left out."""
    return f"\n[output cut here: {size} bytes and {images} images are left out]"


def _bounded_outputs(outputs: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Returns the outputs within MAX_SHOWN bytes and MAX_OUTPUTS. The last logs say how much is left out."""
    kept, room, size, images = list[Json](), MAX_SHOWN, 0, 0
    for output in outputs:
        if output["type"] == "image":
            if len(kept) < MAX_OUTPUTS:
                kept.append({"type": "image", "image": {"file_id": str(output["image"]["file_id"])}})
            else:
                images += 1
            continue
        whole = to_storable(str(output["logs"]))
        logs = cut_to_bytes(whole, room if len(kept) < MAX_OUTPUTS else 0)
        room -= len(logs.encode())
        if logs != whole:
            size += len(whole.encode()) - len(logs.encode())
            room = 0  # later logs are left out too, so that there is one cut
        if len(kept) < MAX_OUTPUTS and (logs or not whole):
            kept.append({"type": "logs", "logs": logs})
    if size or images:
        _end_with(kept, cut_note(size, images))
    return kept


def _end_with(outputs: list[Json], note: str) -> None:
    """Adds the note to the last logs, or as logs of its own if there are none."""
    last = next((output for output in reversed(outputs) if output["type"] == "logs"), None)
    if last is not None:
        last["logs"] += note
    else:
        outputs.append({"type": "logs", "logs": note})


def _bounded_results(results: Iterable[Mapping[str, Any]]) -> Iterable[Json]:
    room = MAX_SHOWN
    for result in results:
        texts = [to_storable(str(part["text"])) for part in result.get("content", ())]
        room -= sum(len(text.encode()) for text in texts)
        if room < 0:
            return
        yield {
            "file_id": str(result["file_id"]),
            "file_name": to_storable(str(result["file_name"])),
            "score": float(result["score"]),
            "attributes": _storable_attributes(result.get("attributes") or {}),
            "content": [{"type": "text", "text": text} for text in texts],
        }


def _storable_attributes(attributes: Mapping[str, Any]) -> Json:
    return {
        to_storable(key): to_storable(value) if isinstance(value, str) else value for key, value in attributes.items()
    }
