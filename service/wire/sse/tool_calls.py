"""Tracks the tool calls, and their outputs, that a stream has sent, and renders those that are left to send."""

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
    """A tool call as far as a stream has sent it.

    `is_closed`: no more deltas of its outputs are sent, because its result has arrived, or because another attempt
    produces its outputs again.
    """

    id: str
    step_id: str
    index: int
    type: str
    text: str = ""
    outputs: list[Json] = field(default_factory=list)
    attempt: int = 0
    is_closed: bool = False


class StreamedCalls:
    """The tool calls of one run, as far as its stream has sent them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._calls: dict[tuple[str, int], _StreamedCall] = {}
        self._by_id: dict[str, _StreamedCall] = {}

    def is_next(self, delta: StepCallDelta) -> bool:
        """Whether the delta follows those that were sent: it begins a new call, or continues one that was begun."""
        return ((delta.step_id, delta.index) in self._calls) == (delta.id is None)

    def delta_frames(self, delta: StepCallDelta) -> list[bytes]:
        first: list[bytes] = []
        if delta.id is not None:
            name, search = delta.name or "", delta.search
            first = [self._first_frame(delta.step_id, delta.index, delta.id, delta.kind, name, search)]
        return first + self._text_frames(self._calls[delta.step_id, delta.index], delta.arguments)

    def remaining_frames(self, step_id: str, index: int, call: Json) -> list[bytes]:
        """Returns frames for the part of a complete call that was not sent, without its outputs."""
        first: list[bytes] = []
        type, function = call["type"], call["function"]
        if (step_id, index) not in self._calls:
            first = [self._first_frame(step_id, index, call["id"], type, function["name"], call.get("file_search"))]
        sent = self._calls[step_id, index]
        text = _streamed_text(type, function["arguments"])
        if sent.id != call["id"] or not text.startswith(sent.text):
            return first
        return first + self._text_frames(sent, text[len(sent.text) :])

    def lengths(self, step_id: str) -> bytes:
        """Returns the characters that were sent of each call of the step: b"5-0"."""
        return b"-".join([b"%d" % len(call.text) for (owner, _), call in self._calls.items() if owner == step_id])

    def output_lengths(self, call_id: str) -> bytes:
        """Returns the number of outputs that were sent of the call, and the characters of the last one's logs."""
        return b"%d-%d" % _measure(self._by_id[call_id].outputs)

    def assume(self, step_id: str, index: int, call: Json, length: int) -> None:
        """Assumes that the client has the beginning of a complete call: at least `length` characters of its text."""
        known = self._calls.get((step_id, index))
        if known is not None and len(known.text) >= length:
            return
        text = _streamed_text(call["type"], call["function"]["arguments"])[:length]
        streamed = _StreamedCall(call["id"], step_id, index, call["type"], text=text)
        self._calls[step_id, index] = self._by_id[call["id"]] = streamed

    def assume_outputs(self, call_id: str, outputs: Sequence[Json], count: int, length: int) -> None:
        """Assumes that the client has at least the first `count` outputs of a call, with `length` characters of the
        last one.
        """
        call = self._by_id.get(call_id)
        if call is not None and _measure(call.outputs) < (count, length):
            call.outputs = [dict(render_output(one)) for one in outputs[:count]]
            if call.outputs and "logs" in call.outputs[-1]:
                call.outputs[-1]["logs"] = call.outputs[-1]["logs"][:length]

    def start_attempt(self, call_id: str, attempt: int, *, has_outputs: bool) -> None:
        """Notes that an attempt at a hosted call has started.

        If an earlier attempt has sent outputs, they stay, and the call's outputs are complete only in the step's end.
        `has_outputs`: a resumed client has such outputs, although this stream has not sent them.
        """
        call = self._by_id.get(call_id)
        if call is not None:
            call.attempt = attempt
            call.is_closed = call.is_closed or has_outputs or bool(call.outputs)

    def output_frames(self, delta: StepOutputDelta) -> list[bytes]:
        call = self._by_id.get(delta.call_id)
        if call is None or call.is_closed or call.type != "code_interpreter":
            return []
        if delta.attempt != call.attempt or delta.index > len(call.outputs):
            return []
        if delta.image is not None:
            return self._output_frames(call, delta.index, {"type": "image", "image": {"file_id": delta.image}})
        return self._output_frames(call, delta.index, {"type": "logs", "logs": delta.logs})

    def remaining_output_frames(self, call_id: str, outputs: Sequence[Json]) -> list[bytes]:
        """Returns frames for the outputs of a hosted call that were not sent, up to one that differs from what was."""
        call = self._by_id.get(call_id)
        if call is None or call.is_closed:
            return []
        call.is_closed = True
        remaining: list[bytes] = []
        for index, whole in enumerate(outputs):
            sent = call.outputs[index] if index < len(call.outputs) else None
            if sent is None:
                remaining += self._output_frames(call, index, render_output(whole))
            elif sent["type"] != whole["type"] or not _begins_with(whole, sent):
                return remaining
            elif whole["type"] == "logs" and whole["logs"] != sent["logs"]:
                rest = whole["logs"][len(sent["logs"]) :]
                remaining += self._output_frames(call, index, {"type": "logs", "logs": rest})
        return remaining

    def _first_frame(self, step_id: str, index: int, id: str, type: str, name: str, search: Json | None) -> bytes:
        self._calls[step_id, index] = self._by_id[id] = _StreamedCall(id, step_id, index, type)
        return frames.step_delta(step_id, {"index": index, **self._wire.render_new_call(id, type, name, search)})

    def _text_frames(self, call: _StreamedCall, text: str) -> list[bytes]:
        call.text += text
        return [frames.step_delta(call.step_id, frames.call_piece(call.index, call.type, text))] if text else []

    def _output_frames(self, call: _StreamedCall, index: int, output: Json) -> list[bytes]:
        """Returns a frame for a new output, or for more logs of an output that was sent."""
        if index == len(call.outputs):
            call.outputs.append(dict(output))
        elif output["type"] == call.outputs[index]["type"] == "logs":
            call.outputs[index]["logs"] += output["logs"]
        else:
            return []
        return [frames.step_delta(call.step_id, frames.output_piece(call.index, index, output))]


def _measure(outputs: Sequence[Json]) -> tuple[int, int]:
    """Returns the number of outputs, and the characters of the last one's logs."""
    return len(outputs), len(outputs[-1].get("logs", "")) if outputs else 0


def _streamed_text(type: str, arguments: str) -> str:
    """Returns the text that the deltas of a complete call add up to."""
    match type:
        case "function":
            return arguments
        case "code_interpreter":
            return code_of(arguments)
        case _:
            return ""


def _begins_with(whole: Json, sent: Json) -> bool:
    if whole["type"] == "image":
        return bool(whole["image"]["file_id"] == sent["image"]["file_id"])
    return str(whole["logs"]).startswith(sent["logs"])
