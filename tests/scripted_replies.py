"""The replies of the scripted model server: each is built once, and its chunks are encoded once.

A reply is a status, headers and a list of frames. A frame is the bytes of one write, or one of these marks between
writes: a gate (`"gate:name"`), a broken connection (`BREAK`), or endless silence (`HANG`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

GATE = "gate:"
BREAK = "break"
HANG = "hang"
DROP = 0  # the status of a reply that drops the connection
DONE = b"data: [DONE]\n\n"
MODEL = "scripted"
PROMPT_TOKENS = 7  # in usage, if the script gives no number

Frame = bytes | str


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply. `frames` are described above; `message` is the complete answer to a request without streaming."""

    frames: tuple[Frame, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)
    gate: str | None = None  # a gate before the status line
    pace_s: float = 0.0  # seconds between frames, for benchmarks: the pace of a model

    def waits(self, gate: str, before: int = 0) -> Reply:
        """Returns the reply with a gate before frame number `before`: 0 is the chunk with the role, 1 the first
        piece."""
        assert 0 <= before <= len(self.frames), f"the reply has {len(self.frames)} frames"
        return replace(self, frames=(*self.frames[:before], GATE + gate, *self.frames[before:]))

    def holds(self, gate: str) -> Reply:
        """Returns the reply with a gate before the status line."""
        return replace(self, gate=gate)

    def breaks_after(self, frames: int) -> Reply:
        """Returns the reply with a broken connection after so many frames."""
        return replace(self, frames=(*self.frames[:frames], BREAK))

    def hangs_after(self, frames: int) -> Reply:
        """Returns the reply with endless silence after so many frames, on an open connection."""
        return replace(self, frames=(*self.frames[:frames], HANG))

    def with_frames(self, *frames: Frame) -> Reply:
        """Returns the reply with other frames."""
        return replace(self, frames=frames)


def chunk(
    delta: Mapping[str, Any] | None,
    finish: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> bytes:
    """Returns a chat.completion.chunk as an SSE frame. If `delta` is None, the chunk has no choices and carries
    usage."""
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    body["choices"] = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    if usage is not None:
        body["usage"] = usage
    return b"data: " + orjson.dumps(body) + b"\n\n"


def usage_of(prompt: int, completion: int) -> dict[str, Any]:
    """Returns usage in the form of the chat completions API, in tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


Usage = bool | tuple[int, int]


def _reply(
    deltas: Sequence[Mapping[str, Any]],
    finish: str,
    usage: Usage,
    message: Mapping[str, Any],
) -> Reply:
    """Returns a reply of role chunk, deltas, finish, usage (True: a token for each delta) and [DONE]."""
    counted = (PROMPT_TOKENS, len(deltas)) if isinstance(usage, bool) else usage
    counts = usage_of(*counted) if usage else None
    frames = [chunk({"role": "assistant", "content": ""}), *map(chunk, deltas), chunk({}, finish)]
    if counts is not None:
        frames.append(chunk(None, usage=counts))
    whole = {"role": "assistant", "content": None, **message}
    choice = {"index": 0, "message": whole, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
    return Reply((*frames, DONE), message={**body, "usage": counts})


def _pieces(text: str, pieces: int | Sequence[str] | None) -> list[str]:
    """Returns words by default, about so many equal pieces for an int, and a list unchanged."""
    if pieces is None:
        words = text.split(" ")
        return [words[0], *(" " + word for word in words[1:])]
    if isinstance(pieces, int):
        size = max(1, -(-len(text) // pieces))
        return [text[at : at + size] for at in range(0, len(text), size)]
    return list(pieces)


def says(text: str, pieces: int | Sequence[str] | None = None, usage: Usage = True, finish: str = "stop") -> Reply:
    """A text. `pieces`: words by default, a number of equal pieces, or the pieces themselves (then `text` is
    ignored)."""
    parts = _pieces(text, pieces)
    return _reply([{"content": part} for part in parts], finish, usage, {"content": "".join(parts)})


def cuts_off(text: str, pieces: int | Sequence[str] | None = None, usage: Usage = True) -> Reply:
    """A text that is cut off at the limit of tokens."""
    return says(text, pieces, usage, finish="length")


def hits_filter(text: str = "", usage: Usage = True) -> Reply:
    """A text that the upstream's content filter stopped."""
    return says(text, usage=usage, finish="content_filter")


def refuses(text: str, usage: Usage = True) -> Reply:
    """A refusal, word by word."""
    return _reply([{"refusal": part} for part in _pieces(text, None)], "stop", usage, {"refusal": text})


def calls(
    *functions: Sequence[Any],
    text: str = "",
    pieces: int = 2,
    usage: Usage = True,
    ids: Sequence[str] | None = None,
) -> Reply:
    """Function calls, several in parallel: ("name", {arguments}) or ("name", "raw json"). `text` precedes them."""
    deltas: list[dict[str, Any]] = [{"content": part} for part in _pieces(text, None)] if text else []
    whole: list[dict[str, Any]] = []
    for index, (name, given) in enumerate(functions):
        arguments = given if isinstance(given, str) else orjson.dumps(given).decode()
        call_id = ids[index] if ids else f"call_scripted_{index}"
        head = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        for part in _pieces(arguments, pieces):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        whole.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})
    return _reply(deltas, "tool_calls", usage, {"content": text or None, "tool_calls": whole})


def errors(status: int = 500, body: object | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """An error response. `body` is raw text if it is a str, otherwise JSON; None stands for an error in OpenAI's
    form."""
    if body is None:
        body = {"error": {"message": f"scripted error {status}", "type": "scripted", "param": None, "code": None}}
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return Reply((raw,), status=status, headers={"content-type": "application/json", **(headers or {})})


def breaks_after(frames: int, text: str = "This sentence is never said to its end.") -> Reply:
    """A text whose connection breaks after so many frames: 1 is the role's chunk, 2 the first word."""
    return says(text).breaks_after(frames)


def drops() -> Reply:
    """A connection that breaks before the status line, as if the server had closed it while it was idle."""
    return Reply((), status=DROP)


def hangs(after: int = 0, text: str = "Silence follows.") -> Reply:
    """Headers, so many frames, and then silence until the client disconnects."""
    return says(text).hangs_after(after)


def tokens(count: int, pace_ms: float = 0.0) -> Reply:
    """A text of `count` small pieces, for benchmarks: as fast as the client reads, or one piece every `pace_ms`."""
    return replace(says("", pieces=[f" token{n % 10}" for n in range(count)]), pace_s=pace_ms / 1000)


BUILDERS: Mapping[str, Callable[..., Reply]] = {
    "says": says,
    "cuts_off": cuts_off,
    "hits_filter": hits_filter,
    "refuses": refuses,
    "calls": calls,
    "errors": errors,
    "breaks_after": breaks_after,
    "drops": drops,
    "hangs": hangs,
    "tokens": tokens,
}


def reply_from_json(description: Mapping[str, Any]) -> Reply:
    """Builds a reply from JSON, in which only the first key is required:

    {"reply": "says", "args": […], "kwargs": {…}, "waits": {"gate": frame}, "breaks_after": frames, "holds": "gate"}
    """
    reply = BUILDERS[description["reply"]](*description.get("args", ()), **description.get("kwargs", {}))
    for gate, before in sorted(description.get("waits", {}).items(), key=lambda item: -int(item[1])):
        reply = reply.waits(gate, int(before))
    if "breaks_after" in description:
        reply = reply.breaks_after(description["breaks_after"])
    return reply.holds(description["holds"]) if "holds" in description else reply
