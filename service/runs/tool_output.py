"""What steps show of hosted calls: cleaned, bounded, and in the API's shapes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from service.model.errors import to_storable
from service.tools.base import MAX_SHOWN, ToolResult

# Outputs of one call: a bound for code that shows things in a loop.
MAX_OUTPUTS = 200
CUT = "\n[output cut here]"

Shown = dict[str, Any]


class Outputs:
    """code_interpreter's outputs as they come in pieces, within MAX_SHOWN bytes and MAX_OUTPUTS.

    Pieces of an output are taken while it is the last one, and an output only where it is the next: whatever comes out
    of order waits for the whole result.
    """

    def __init__(self) -> None:
        self._outputs: list[Shown] = []
        self._room = MAX_SHOWN

    def logs(self, index: int, text: str) -> str:
        """Adds to the logs; the part of `text` that may be shown."""
        text = self._fitting(text)
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

    def image(self, index: int, file_id: str) -> bool:
        """Adds an image; whether it may be shown."""
        if index >= MAX_OUTPUTS or index != len(self._outputs):
            return False
        self._outputs.append({"type": "image", "image": {"file_id": file_id}})
        return True

    def shown(self, kind: str) -> Shown:
        """What the step shows; nothing for tools without outputs."""
        return {"outputs": [dict(one) for one in self._outputs]} if kind == "code_interpreter" else {}

    def _fitting(self, text: str) -> str:
        return fitting(text, self._room)


def fitting(text: str, room: int) -> str:
    """The beginning of `text` that takes at most `room` bytes."""
    if len(text) * 4 <= room:
        return text
    return text.encode()[: max(0, room)].decode(errors="ignore")


def result(kind: str, given: ToolResult) -> Shown:
    """What a step shows of a whole result, its pieces in the API's shapes and no more than MAX_SHOWN bytes."""
    if kind == "file_search":
        return {"results": list(_bounded_results(given.results))}
    return {"outputs": list(_bounded_outputs(given.outputs))}


def _bounded_outputs(outputs: Iterable[Mapping[str, Any]]) -> Iterable[Shown]:
    room = MAX_SHOWN
    for output in list(outputs)[:MAX_OUTPUTS]:
        if output["type"] == "image":
            yield {"type": "image", "image": {"file_id": str(output["image"]["file_id"])}}
            continue
        whole = to_storable(str(output["logs"]))
        logs = fitting(whole, room)
        room -= len(logs.encode())
        if logs or not whole:
            yield {"type": "logs", "logs": logs if logs == whole else logs + CUT}


def _bounded_results(results: Iterable[Mapping[str, Any]]) -> Iterable[Shown]:
    room = MAX_SHOWN
    for found in results:
        texts = [to_storable(str(part["text"])) for part in found.get("content", ())]
        room -= sum(len(text.encode()) for text in texts)
        if room < 0:
            return
        yield {
            "file_id": str(found["file_id"]),
            "file_name": to_storable(str(found["file_name"])),
            "score": float(found["score"]),
            "attributes": _plain(found.get("attributes") or {}),
            "content": [{"type": "text", "text": text} for text in texts],
        }


def _plain(attributes: Mapping[str, Any]) -> Shown:
    """A file's attributes: strings, numbers and booleans."""
    return {
        to_storable(key): to_storable(value) if isinstance(value, str) else value for key, value in attributes.items()
    }
