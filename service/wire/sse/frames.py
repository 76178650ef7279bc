"""Encodes server-sent events as bytes, called frames, and builds the bodies of deltas (docs/behaviour.md, "Deltas").

SDKs concatenate the strings of deltas. Strings that are not pieces of text (ids, names) are therefore in the first
delta only. Every dict inside a list of a delta has its `index`.
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


def indexed_part(index: int, part: Json, first_annotation: int = 0) -> Json:
    """Returns a content part as a delta has it. Its annotations are numbered from `first_annotation`."""
    if part["type"] != "text":
        return {"index": index, **part}
    annotations = [{"index": i, **one} for i, one in enumerate(part["text"]["annotations"], start=first_annotation)]
    return {"index": index, "type": "text", "text": {"value": part["text"]["value"], "annotations": annotations}}


def call_piece(index: int, type: str, text: str) -> Json:
    """Returns more of a function's arguments, or of the input of code_interpreter."""
    return {"index": index, "type": type, type: {"arguments" if type == "function" else "input": text}}


def output_piece(index: int, output_index: int, output: Json) -> Json:
    """Returns output number `output_index` of code_interpreter call number `index`, or more of its logs."""
    return {
        "index": index,
        "type": "code_interpreter",
        "code_interpreter": {"outputs": [{"index": output_index, **output}]},
    }
