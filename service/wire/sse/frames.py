"""Server-sent events as bytes, and the shapes of deltas (docs/behaviour.md, "Deltas").

SDKs concatenate strings, so whatever is no piece of text (ids, names, empty annotations) comes once, with the first
delta. Every dict inside a list of a delta has its `index`.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from events.objects import Json

DONE_FRAME = b"event: done\ndata: [DONE]\n\n"


def sse_frame(event: str, data: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), orjson.dumps(data))


def message_delta(message_id: str, part: Json) -> bytes:
    content = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [part]}}
    return sse_frame("thread.message.delta", content)


def step_delta(step_id: str, call: Json) -> bytes:
    delta = {"step_details": {"type": "tool_calls", "tool_calls": [call]}}
    return sse_frame("thread.run.step.delta", {"id": step_id, "object": "thread.run.step.delta", "delta": delta})


def text_part(value: str, annotations: Sequence[Json] = ()) -> Json:
    return {"type": "text", "text": {"value": value, "annotations": list(annotations)}}


def refusal_part(value: str) -> Json:
    return {"type": "refusal", "refusal": value}


def indexed_part(index: int, part: Json, shown: int = 0) -> Json:
    """A content part in one delta; its annotations get their own indices, behind the `shown` ones."""
    if part["type"] != "text":
        return {"index": index, **part}
    annotations = [{"index": place, **one} for place, one in enumerate(part["text"]["annotations"], start=shown)]
    return {"index": index, "type": "text", "text": {"value": part["text"]["value"], "annotations": annotations}}


def call_piece(index: int, kind: str, text: str) -> Json:
    """More of a function's arguments, or of a code_interpreter's input."""
    return {"index": index, "type": kind, kind: {"arguments" if kind == "function" else "input": text}}


def output_piece(index: int, place: int, output: Json) -> Json:
    """An output of a code_interpreter call, or more of its logs; `place` is its own index."""
    return {
        "index": index,
        "type": "code_interpreter",
        "code_interpreter": {"outputs": [{"index": place, **output}]},
    }
