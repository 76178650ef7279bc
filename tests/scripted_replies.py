"""What the scripted model server answers: replies built once, their chunks encoded once.

A reply is a status, headers and a list of frames. A frame is bytes that go out in one write, or one of the marks that
stand between them: a gate (`"gate:name"`), a broken connection (`BREAK`), silence for ever (`HANG`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

GATE = "gate:"
BREAK = "break"
HANG = "hang"
DROPPED = 0  # the status of a reply that never comes
DONE = b"data: [DONE]\n\n"
MODEL = "scripted"
PROMPT_TOKENS = 7  # what usage says where a script does not

Frame = bytes | str


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `frames` as above; `message` is the whole one, for requests that do not stream."""

    frames: tuple[Frame, ...]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)
    hold: str | None = None  # a gate before the status line
    pace_s: float = 0.0  # seconds between frames, for benchmarks: as a model generates

    def waits(self, gate: str, before: int = 0) -> Reply:
        """Waits at `gate` before frame number `before`: 0 is the chunk with the role, 1 the first piece."""
        assert 0 <= before <= len(self.frames), f"the reply has {len(self.frames)} frames"
        return replace(self, frames=(*self.frames[:before], GATE + gate, *self.frames[before:]))

    def holds(self, gate: str) -> Reply:
        """Waits at `gate` before it answers at all, even with headers."""
        return replace(self, hold=gate)

    def breaks_after(self, frames: int) -> Reply:
        """The connection breaks after that many frames."""
        return replace(self, frames=(*self.frames[:frames], BREAK))

    def hangs_after(self, frames: int) -> Reply:
        """Nothing comes after that many frames, and the connection stays open."""
        return replace(self, frames=(*self.frames[:frames], HANG))

    def raw(self, *frames: Frame) -> Reply:
        """The same answer with these frames instead."""
        return replace(self, frames=frames)


def chunk(
    delta: Mapping[str, Any] | None,
    finish: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> bytes:
    """One chat.completion.chunk as an SSE frame; `delta` None makes the chunk without choices that carries usage."""
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    body["choices"] = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    if usage is not None:
        body["usage"] = usage
    return b"data: " + orjson.dumps(body) + b"\n\n"


def usage_of(prompt: int, completion: int) -> dict[str, Any]:
    """Usage as the chat completions API spells it, in tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


Usage = bool | tuple[int, int]


def _reply(
    deltas: Sequence[Mapping[str, Any]],
    finish: str,
    usage: Usage,
    message: Mapping[str, Any],
) -> Reply:
    """Role chunk, deltas, finish, usage (True counts one token a delta), [DONE]."""
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
    """Words by default; an int makes about that many equal pieces; a list is taken as it is."""
    if pieces is None:
        words = text.split(" ")
        return [words[0], *(" " + word for word in words[1:])]
    if isinstance(pieces, int):
        size = max(1, -(-len(text) // pieces))
        return [text[at : at + size] for at in range(0, len(text), size)]
    return list(pieces)


def says(text: str, pieces: int | Sequence[str] | None = None, usage: Usage = True, finish: str = "stop") -> Reply:
    """Text. `pieces`: words by default, a number of equal pieces, or the pieces themselves (then text is ignored)."""
    parts = _pieces(text, pieces)
    return _reply([{"content": part} for part in parts], finish, usage, {"content": "".join(parts)})


def cut(text: str, pieces: int | Sequence[str] | None = None, usage: Usage = True) -> Reply:
    """Text that ends for want of tokens."""
    return says(text, pieces, usage, finish="length")


def filtered(text: str = "", usage: Usage = True) -> Reply:
    """Text that the upstream's content filter stopped."""
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
    """Function calls, in parallel if several: ("name", {arguments}) or ("name", "raw json"); `text` comes first."""
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
    """An error before anything else. A str is raw text, anything else is JSON; None makes OpenAI's own form."""
    if body is None:
        body = {"error": {"message": f"scripted error {status}", "type": "scripted", "param": None, "code": None}}
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    return Reply((raw,), status=status, headers={"content-type": "application/json", **(headers or {})})


def breaks_after(frames: int, text: str = "This sentence is never said to its end.") -> Reply:
    """The connection breaks after that many frames: 1 is the role's chunk, 2 the first word."""
    return says(text).breaks_after(frames)


def drops() -> Reply:
    """The connection breaks before the status line, as one does that the server had closed while it lay idle."""
    return Reply((), status=DROPPED)


def hangs(after: int = 0, text: str = "Silence follows.") -> Reply:
    """Headers, that many frames, and then nothing, until the client goes away."""
    return says(text).hangs_after(after)


def tokens(count: int, pace_ms: float = 0.0) -> Reply:
    """`count` small pieces, for benchmarks; as fast as the reader reads, or one every `pace_ms`."""
    return replace(says("", pieces=[f" token{n % 10}" for n in range(count)]), pace_s=pace_ms / 1000)


BUILDERS: Mapping[str, Callable[..., Reply]] = {
    "says": says,
    "cut": cut,
    "filtered": filtered,
    "refuses": refuses,
    "calls": calls,
    "errors": errors,
    "breaks_after": breaks_after,
    "drops": drops,
    "hangs": hangs,
    "tokens": tokens,
}


def built(description: Mapping[str, Any]) -> Reply:
    """A reply from JSON; all keys but the first may be left out:

    {"reply": "says", "args": […], "kwargs": {…}, "waits": {"gate": frame}, "breaks_after": frames, "holds": "gate"}
    """
    reply = BUILDERS[description["reply"]](*description.get("args", ()), **description.get("kwargs", {}))
    for gate, before in sorted(description.get("waits", {}).items(), key=lambda item: -int(item[1])):
        reply = reply.waits(gate, int(before))
    if "breaks_after" in description:
        reply = reply.breaks_after(description["breaks_after"])
    return reply.holds(description["holds"]) if "holds" in description else reply
