"""Server-sent events as bytes, and the shapes of deltas (BEHAVIOUR.md, "Deltas exactly").

SDKs concatenate strings, so whatever is no piece of text (ids, names, empty annotations) comes once, with the first
delta. Every dict inside a list of a delta has its `index`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from service.wire.base import Json

DONE = b"event: done\ndata: [DONE]\n\n"


def frame(event: str, data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), orjson.dumps(data))


def message_delta(message_id: str, part: Json) -> bytes:
    content = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}
    return frame("thread.message.delta", content)


def step_delta(step_id: str, call: Json) -> bytes:
    delta = {"step_details": {"type": "tool_calls", "tool_calls": [call]}}
    return frame("thread.run.step.delta", {"id": step_id, "object": "thread.run.step.delta", "delta": delta})


def text_part(value: str) -> Json:
    return {"type": "text", "text": {"value": value, "annotations": []}}


def refusal_part(value: str) -> Json:
    return {"type": "refusal", "refusal": value}


def whole_part(index: int, part: Json) -> Json:
    """A content part in one delta; its annotations get their own indices."""
    if part["type"] != "text":
        return {"index": index, **part}
    annotations = [{"index": place, **one} for place, one in enumerate(part["text"]["annotations"])]
    return {"index": index, "type": "text", "text": {"value": part["text"]["value"], "annotations": annotations}}


def first_piece(index: int, id: str, name: str) -> Json:
    function = {"name": name, "arguments": "", "output": None}
    return {"index": index, "id": id, "type": "function", "function": function}


def next_piece(index: int, arguments: str) -> Json:
    return {"index": index, "type": "function", "function": {"arguments": arguments}}


@dataclass(slots=True)
class Part:
    """A content part that grows: `said` are its pieces so far. All frames after its first differ in one string only."""

    index: int
    kind: str
    start: bytes
    end: bytes
    said: list[str] = field(default_factory=list)

    def piece(self, text: str) -> bytes:
        """The hot path: only the text is encoded, the rest of the frame is ready."""
        self.said.append(text)
        return self.start + orjson.dumps(text) + self.end


def growing(message_id: str, index: int, kind: str) -> Part:
    """`kind` is text or refusal. Frames are what `message_delta` makes of a part without annotations."""
    mark = "\x00"
    shown = mark if kind == "refusal" else {"value": mark}
    start, end = message_delta(message_id, {"index": index, "type": kind, kind: shown}).split(orjson.dumps(mark))
    return Part(index, kind, start, end)
