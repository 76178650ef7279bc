"""Bytes of a streamed chat completion, as they come, into model events. Pure: no clock, no I/O.

Theory. A stream is lines; an event of it is its `data:` lines up to a blank one, and here each event is one JSON chunk,
`[DONE]`, or an error. Where reads cut the bytes means nothing: `feed` keeps the unfinished line, so any split gives the
same events (a law the tests hold). Servers differ, so the parser takes what they are known to send: CRLF, comments,
usage with or after the last choice or never, tool calls whole or in pieces, without index or id or with one index for
all, the old function_call, and a whole JSON answer in place of a stream. What it cannot make sense of is a ModelError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.model.base import (
    Finished,
    FinishReason,
    ModelError,
    ModelEvent,
    ModelUsage,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from service.model.errors import MAX_CAUSE, StreamError, clean

MAX_EVENT_BYTES = 4 * 1024 * 1024  # of one event of the stream; a whole JSON answer too
MAX_STREAM_BYTES = 64 * 1024 * 1024  # of one call: no model says so much, a broken server might
MAX_TOOL_CALLS = 128  # in one reply: as many as an assistant may have tools

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(slots=True)
class _Call:
    """A tool call on its way. Nothing of it is given out before its name is known; `held` are arguments till then."""

    index: int
    sent_id: str | None
    name: str = ""
    announced: bool = False
    held: str = ""


class ChunkParser:
    """Feed it with reads; it gives model events. After `done`, or a `failure`, it ignores what comes.

    A failure is kept and not raised, because the events before it in the same read count: they were said.

    `mint` makes an id for a tool call that the server gave none. `frames` counts the chunks seen, comments not
    among them: it tells a server that thinks from one that only keeps the connection open. `whole` is for a server
    that answers a streaming request with one JSON document.
    """

    def __init__(self, mint: Callable[[], str], model: str = "", whole: bool = False) -> None:
        self.frames = 0
        self.done = False
        self.failure: ModelError | None = None
        self._mint = mint
        self._model = model
        self._whole = whole
        self._rest = b""
        self._data: list[bytes] = []
        self._error_event = False
        self._size = 0
        self._seen = 0
        self._reason: str | None = None
        self._usage: ModelUsage | None = None
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def feed(self, data: bytes) -> list[ModelEvent]:
        """The events that these bytes complete. What makes no sense ends the stream: `failure` then says why."""
        events: list[ModelEvent] = []
        if self.failure is None and not self.done:
            try:
                self._take(data, events)
            except ModelError as error:
                self.failure = error
        return events

    def end(self) -> list[ModelEvent]:
        """The bytes are over: what is left, and Finished; `failure` where the answer was not complete."""
        events: list[ModelEvent] = []
        if self.failure is None and not self.done:
            try:
                if self._whole:
                    self._event(self._rest, events)
                else:  # servers forget the last newlines
                    self._line(self._rest, events)
                    self._line(b"", events)
                if not self.done:
                    self._finish(events)
            except ModelError as error:
                self.failure = error
        return events

    def _take(self, data: bytes, events: list[ModelEvent]) -> None:
        self._seen += len(data)
        if self._seen > MAX_STREAM_BYTES:
            raise ModelError("server_error", f"The model server sent more than {MAX_STREAM_BYTES} bytes in one answer.")
        if self._rest:
            data = self._rest + data
        if self._whole:
            self._rest = data
        else:
            lines = data.split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                self._line(line, events)
        self._bound(len(self._rest))

    def _bound(self, size: int) -> None:
        if size + self._size > MAX_EVENT_BYTES:
            raise ModelError("server_error", f"The model server sent an event of more than {MAX_EVENT_BYTES} bytes.")

    def _line(self, line: bytes, events: list[ModelEvent]) -> None:
        if line.endswith(b"\r"):
            line = line[:-1]
        if line.startswith(b"data:"):
            self._data.append(line[5:])
            self._size += len(line)
            self._bound(0)
        elif not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data = []
                self._size = 0
                self._event(data.strip(), events)
            self._error_event = False
        elif line.startswith(b"event:"):
            self._error_event = line[6:].strip() == b"error"
        # All else is comments, id, retry: SSE says to ignore what is not known.

    def _event(self, data: bytes, events: list[ModelEvent]) -> None:
        if self.done or not data:
            return
        if data == b"[DONE]":
            self._finish(events)
        elif self._error_event:
            raise StreamError(_error_in(data))
        else:
            self._chunk(data, events)

    def _chunk(self, data: bytes, events: list[ModelEvent]) -> None:
        chunk = _loads(data)
        if chunk.get("error"):
            raise StreamError(chunk["error"])
        self.frames += 1
        model = chunk.get("model")
        if model and isinstance(model, str):
            self._model = model
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            self._usage = _usage(usage)
        try:
            for choice in chunk.get("choices") or ():
                if not choice.get("index"):  # n is 1; a server that sends others is not asked for them
                    self._delta(choice.get("delta") or choice.get("message") or {}, events)
                    reason = choice.get("finish_reason")
                    if reason:
                        self._reason = str(reason)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                "server_error", f"The model server sent a chunk of a wrong shape: {_start(data)}"
            ) from error

    def _delta(self, delta: Mapping[str, Any], events: list[ModelEvent]) -> None:
        content = delta.get("content")
        if content:
            text = content if isinstance(content, str) else "".join(_text_of(part) for part in content)
            if text:
                events.append(TextDelta(clean(text)))
        refusal = delta.get("refusal")
        if refusal:
            events.append(RefusalDelta(clean(refusal)))
        for piece in delta.get("tool_calls") or ():
            self._call(piece.get("index"), piece.get("id"), piece.get("function") or {}, events)
        old = delta.get("function_call")
        if old:
            self._call(0, None, old, events)

    def _call(
        self, index: int | None, call_id: str | None, function: Mapping[str, Any], events: list[ModelEvent]
    ) -> None:
        call = self._call_for(index, call_id or None, function.get("name"))
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # a server that sends the object itself
            arguments = orjson.dumps(arguments).decode()
        arguments = clean(arguments)
        call.name = call.name or clean(function.get("name") or "")
        if call.announced:
            if arguments:
                events.append(ToolCallDelta(call.index, None, None, arguments))
        elif call.name:
            call.announced = True
            call_id = clean(call.sent_id) if call.sent_id else self._mint()
            events.append(ToolCallDelta(call.index, call_id, call.name, call.held + arguments))
        else:
            call.held += arguments

    def _call_for(self, index: int | None, call_id: str | None, name: str | None) -> _Call:
        """Which call a piece belongs to. By index; by id where there is none; else a name starts a call.

        Some servers send index 0 for all: another id, with a name, is another call all the same.
        """
        call: _Call | None = None
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and name and call_id and call.sent_id and call_id != call.sent_id:
                call = next((one for one in self._calls if one.sent_id == call_id), None)
        elif call_id is not None:
            call = next((one for one in self._calls if one.sent_id == call_id), None)
        elif self._calls and not (name and self._calls[-1].announced):
            call = self._calls[-1]
        if call is None:
            if len(self._calls) == MAX_TOOL_CALLS:
                raise ModelError("server_error", f"The model made more than {MAX_TOOL_CALLS} tool calls in one reply.")
            call = _Call(len(self._calls), call_id)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _finish(self, events: list[ModelEvent]) -> None:
        if self._reason is None:
            raise ModelError("server_error", "The model server ended its answer without a finish_reason.")
        if self._reason == "error":
            raise ModelError("server_error", "The model server ended its answer with finish_reason error.")
        if not all(call.announced for call in self._calls):
            raise ModelError("server_error", "The model server sent a tool call without a name.")
        reason = _REASONS.get(self._reason, "stop")
        if reason in ("stop", "tool_calls"):  # servers say stop after calls, and the reverse
            reason = "tool_calls" if self._calls else "stop"
        self.done = True
        events.append(Finished(reason, self._usage, self._model))


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    return part.get("text") or "" if part.get("type") == "text" else ""


def _start(data: bytes) -> str:
    return clean(data[:MAX_CAUSE].decode(errors="replace"))


def _loads(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # the standard library takes lone surrogates and NaN, which servers written in Python send
            chunk = json.loads(data.decode(errors="replace"))
        except (ValueError, RecursionError):
            raise ModelError("server_error", f"The model server sent malformed JSON: {_start(data)}") from None
    if not isinstance(chunk, dict):
        raise ModelError("server_error", f"The model server sent a chunk that is no object: {_start(data)}")
    return chunk


def _error_in(data: bytes) -> object:
    try:
        body = _loads(data)
    except ModelError:
        return data.decode(errors="replace")
    return body.get("error") or body


def _usage(usage: Mapping[str, Any]) -> ModelUsage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return ModelUsage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(prompt, "cached_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
    )


def _count(counts: object, key: str) -> int:
    """A count that servers may leave out, null or write as a float."""
    value = counts.get(key) if isinstance(counts, Mapping) else None
    return max(0, int(value)) if isinstance(value, int | float) and value == value else 0
