"""What a stream has shown of tool calls and their outputs, and what of a whole one it has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from events.objects import Json
from service.deltas import StepCallDelta, StepOutputDelta
from service.partial_json import code_of
from service.wire.api import Wire
from service.wire.sse import frames
from service.wire.steps import render_output


@dataclass(slots=True)
class _StreamedCall:
    """`deaf`: its result came, or another attempt says its outputs anew; live pieces are not heard any more."""

    id: str
    step_id: str
    index: int
    type: str
    text: str = ""
    outputs: list[Json] = field(default_factory=list)
    attempt: int = 0
    is_closed: bool = False


class StreamedCalls:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._calls: dict[tuple[str, int], _StreamedCall] = {}
        self._by_id: dict[str, _StreamedCall] = {}

    def continues(self, item: StepCallDelta) -> bool:
        """Whether the piece follows what was shown: the call's first piece, or more of a call that began here."""
        return ((item.step_id, item.index) in self._calls) == (item.id is None)

    def live_frames(self, item: StepCallDelta) -> list[bytes]:
        """A live piece as frames."""
        told: list[bytes] = []
        if item.id is not None:
            told.append(self._first_frame(item.step_id, item.index, item.id, item.kind, item.name or "", item.search))
        return told + self._text_frames(self._calls[item.step_id, item.index], item.arguments)

    def remaining_frames(self, step_id: str, index: int, call: Json) -> list[bytes]:
        """What of a whole call was not shown yet, but for its outputs."""
        told: list[bytes] = []
        kind, function = call["type"], call["function"]
        if (step_id, index) not in self._calls:
            told.append(self._first_frame(step_id, index, call["id"], kind, function["name"], call.get("file_search")))
        known = self._calls[step_id, index]
        words = _streamed_text(kind, function["arguments"])
        if known.id != call["id"] or not words.startswith(known.text):
            return told
        return told + self._text_frames(known, words[len(known.text) :])

    def start_attempt(self, call_id: str, attempt: int) -> None:
        """An attempt at a hosted call began. What an earlier one showed is not unsaid: the end tells the whole."""
        call = self._by_id.get(call_id)
        if call is not None:
            call.attempt = attempt
            call.is_closed = call.is_closed or bool(call.outputs)

    def output_frames(self, item: StepOutputDelta) -> list[bytes]:
        """A live piece of an output as a frame."""
        call = self._by_id.get(item.call_id)
        if call is None or call.is_closed or call.type != "code_interpreter":
            return []
        if item.attempt != call.attempt or item.index > len(call.outputs):
            return []
        if item.image is not None:
            return self._output_frames(call, item.index, {"type": "image", "image": {"file_id": item.image}})
        return self._output_frames(call, item.index, {"type": "logs", "logs": item.logs})

    def remaining_output_frames(self, call_id: str, outputs: Sequence[Json]) -> list[bytes]:
        """What of a hosted call's outputs was not shown yet; nothing where other ones were shown."""
        call = self._by_id.get(call_id)
        if call is None or call.is_closed:
            return []
        call.is_closed = True
        told: list[bytes] = []
        for place, whole in enumerate(outputs):
            known = call.outputs[place] if place < len(call.outputs) else None
            if known is None:
                told += self._output_frames(call, place, render_output(whole))
            elif known["type"] != whole["type"] or not _is_continued_by(whole, known):
                return told
            elif whole["type"] == "logs" and whole["logs"] != known["logs"]:
                told += self._output_frames(call, place, {"type": "logs", "logs": whole["logs"][len(known["logs"]) :]})
        return told

    def _first_frame(self, step_id: str, index: int, id: str, kind: str, name: str, search: Json | None) -> bytes:
        self._calls[step_id, index] = self._by_id[id] = _StreamedCall(id, step_id, index, kind)
        return frames.step_delta(step_id, {"index": index, **self._wire.render_new_call(id, kind, name, search)})

    def _text_frames(self, call: _StreamedCall, text: str) -> list[bytes]:
        call.text += text
        return [frames.step_delta(call.step_id, frames.call_piece(call.index, call.type, text))] if text else []

    def _output_frames(self, call: _StreamedCall, place: int, piece: Json) -> list[bytes]:
        """Shows a new output, or more of the logs of one that was shown."""
        if place == len(call.outputs):
            call.outputs.append(dict(piece))
        elif piece["type"] == call.outputs[place]["type"] == "logs":
            call.outputs[place]["logs"] += piece["logs"]
        else:
            return []
        return [frames.step_delta(call.step_id, frames.output_piece(call.index, place, piece))]


def _streamed_text(kind: str, arguments: str) -> str:
    """What pieces of a call add up to."""
    match kind:
        case "function":
            return arguments
        case "code_interpreter":
            return code_of(arguments)
        case _:
            return ""


def _is_continued_by(whole: Json, known: Json) -> bool:
    if whole["type"] == "image":
        return bool(whole["image"]["file_id"] == known["image"]["file_id"])
    return str(whole["logs"]).startswith(known["logs"])
