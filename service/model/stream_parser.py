"""Parsing the bytes of a streamed chat completion into model events: pure, without a clock or I/O.

A stream consists of lines; an event of the stream is its `data:` lines up to a blank line, and here each event is a
stream chunk (a JSON object), `[DONE]`, or an error. `feed` keeps the unfinished line, so the division of the bytes into
reads has no effect on the events (tests hold this law). Servers differ, and the parser accepts the known variants:
CRLF, comments, usage with or after the last choice or never, tool calls whole or in pieces, without index or id or with
the same index for all, the old function_call, and one JSON document in place of a stream. Everything else is a
ModelError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.model.base import (
    FinishReason,
    ModelError,
    ModelEvent,
    ModelStreamEnd,
    ModelUsage,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from service.model.errors import MAX_CAUSE, ModelStreamError, to_storable

MAX_EVENT_BYTES = 4 * 1024 * 1024  # of one event of the stream, or of a JSON document in place of a stream
MAX_STREAM_BYTES = 64 * 1024 * 1024  # of one call; only a broken server sends more
MAX_TOOL_CALLS = 128  # in one reply: the number of tools that an assistant may have

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(slots=True)
class _PartialCall:
    """An incomplete tool call. Its first event is sent when its name is known; `arguments` are held back until then."""

    index: int
    server_id: str | None
    name: str = ""
    is_announced: bool = False
    arguments: str = ""


class StreamParser:
    """Turns the bytes of an answer into model events. After `done`, or a `failure`, it ignores further bytes.

    A failure is stored and not raised, because the events before it in the same read are valid.

    `mint` returns an id for a tool call to which the server gave none. `chunk_count` is the number of stream chunks;
    it distinguishes a server that thinks from a server that only keeps the connection open with comments. `is_document`
    is for a server that answers a streaming request with one JSON document.
    """

    def __init__(self, mint: Callable[[], str], model: str = "", is_document: bool = False) -> None:
        self.chunk_count = 0
        self.done = False
        self.failure: ModelError | None = None
        self._mint = mint
        self._model = model
        self._is_document = is_document
        self._rest = b""
        self._data: list[bytes] = []
        self._is_error_event = False
        self._event_size = 0
        self._bytes_read = 0
        self._reason: str | None = None
        self._usage: ModelUsage | None = None
        self._calls: list[_PartialCall] = []
        self._by_index: dict[int, _PartialCall] = {}

    def feed(self, data: bytes) -> list[ModelEvent]:
        """Returns the events that these bytes complete. If the bytes are invalid, the stream ends with a `failure`."""
        events: list[ModelEvent] = []
        if self.failure is None and not self.done:
            try:
                self._read(data, events)
            except ModelError as error:
                self.failure = error
        return events

    def end(self) -> list[ModelEvent]:
        """Returns the last events, ending with ModelStreamEnd. If the answer is incomplete, it sets `failure`."""
        events: list[ModelEvent] = []
        if self.failure is None and not self.done:
            try:
                if self._is_document:
                    self._read_event(self._rest, events)
                else:  # some servers omit the last newlines
                    self._read_line(self._rest, events)
                    self._read_line(b"", events)
                if not self.done:
                    self._finish(events)
            except ModelError as error:
                self.failure = error
        return events

    def _read(self, data: bytes, events: list[ModelEvent]) -> None:
        self._bytes_read += len(data)
        if self._bytes_read > MAX_STREAM_BYTES:
            raise ModelError("server_error", f"The model server sent more than {MAX_STREAM_BYTES} bytes in one answer.")
        if self._rest:
            data = self._rest + data
        if self._is_document:
            self._rest = data
        else:
            lines = data.split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                self._read_line(line, events)
        self._check_size(len(self._rest))

    def _check_size(self, size: int) -> None:
        if size + self._event_size > MAX_EVENT_BYTES:
            raise ModelError("server_error", f"The model server sent an event of more than {MAX_EVENT_BYTES} bytes.")

    def _read_line(self, line: bytes, events: list[ModelEvent]) -> None:
        if line.endswith(b"\r"):
            line = line[:-1]
        if line.startswith(b"data:"):
            self._data.append(line[5:])
            self._event_size += len(line)
            self._check_size(0)
        elif not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                self._data = []
                self._event_size = 0
                self._read_event(data.strip(), events)
            self._is_error_event = False
        elif line.startswith(b"event:"):
            self._is_error_event = line[6:].strip() == b"error"
        # Other lines are comments, id and retry. The SSE specification says to ignore unknown fields.

    def _read_event(self, data: bytes, events: list[ModelEvent]) -> None:
        if self.done or not data:
            return
        if data == b"[DONE]":
            self._finish(events)
        elif self._is_error_event:
            raise ModelStreamError(_parse_error(data))
        else:
            self._read_chunk(data, events)

    def _read_chunk(self, data: bytes, events: list[ModelEvent]) -> None:
        chunk = _parse_chunk(data)
        if chunk.get("error"):
            raise ModelStreamError(chunk["error"])
        self.chunk_count += 1
        model = chunk.get("model")
        if model and isinstance(model, str):
            self._model = model
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            self._usage = _parse_usage(usage)
        try:
            for choice in chunk.get("choices") or ():
                if not choice.get("index"):  # requests ask for one choice; others are ignored
                    self._read_delta(choice.get("delta") or choice.get("message") or {}, events)
                    reason = choice.get("finish_reason")
                    if reason:
                        self._reason = str(reason)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                "server_error", f"The model server sent a chunk of a wrong shape: {_excerpt(data)}"
            ) from error

    def _read_delta(self, delta: Mapping[str, Any], events: list[ModelEvent]) -> None:
        content = delta.get("content")
        if content:
            text = content if isinstance(content, str) else "".join(_text_of(part) for part in content)
            if text:
                events.append(TextDelta(to_storable(text)))
        refusal = delta.get("refusal")
        if refusal:
            events.append(RefusalDelta(to_storable(refusal)))
        for piece in delta.get("tool_calls") or ():
            self._read_call(piece.get("index"), piece.get("id"), piece.get("function") or {}, events)
        function_call = delta.get("function_call")
        if function_call:
            self._read_call(0, None, function_call, events)

    def _read_call(
        self, index: int | None, call_id: str | None, function: Mapping[str, Any], events: list[ModelEvent]
    ) -> None:
        call = self._find_call(index, call_id or None, function.get("name"))
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = orjson.dumps(arguments).decode()
        arguments = to_storable(arguments)
        call.name = call.name or to_storable(function.get("name") or "")
        if call.is_announced:
            if arguments:
                events.append(ToolCallDelta(call.index, None, None, arguments))
        elif call.name:
            call.is_announced = True
            call_id = to_storable(call.server_id) if call.server_id else self._mint()
            events.append(ToolCallDelta(call.index, call_id, call.name, call.arguments + arguments))
        else:
            call.arguments += arguments

    def _find_call(self, index: int | None, call_id: str | None, name: str | None) -> _PartialCall:
        """Returns the call that a piece belongs to: by index; by id if there is no index; otherwise a name starts a
        call.

        Some servers send index 0 for all calls, so another id, with a name, starts another call.
        """
        call: _PartialCall | None = None
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and name and call_id and call.server_id and call_id != call.server_id:
                call = next((known for known in self._calls if known.server_id == call_id), None)
        elif call_id is not None:
            call = next((known for known in self._calls if known.server_id == call_id), None)
        elif self._calls and not (name and self._calls[-1].is_announced):
            call = self._calls[-1]
        if call is None:
            if len(self._calls) == MAX_TOOL_CALLS:
                raise ModelError("server_error", f"The model made more than {MAX_TOOL_CALLS} tool calls in one reply.")
            call = _PartialCall(len(self._calls), call_id)
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _finish(self, events: list[ModelEvent]) -> None:
        if self._reason is None:
            raise ModelError("server_error", "The model server ended its answer without a finish_reason.")
        if self._reason == "error":
            raise ModelError("server_error", "The model server ended its answer with finish_reason error.")
        if not all(call.is_announced for call in self._calls):
            raise ModelError("server_error", "The model server sent a tool call without a name.")
        reason = _REASONS.get(self._reason, "stop")
        if reason in ("stop", "tool_calls"):  # some servers send stop after calls, or tool_calls without calls
            reason = "tool_calls" if self._calls else "stop"
        self.done = True
        events.append(ModelStreamEnd(reason, self._usage, self._model))


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    return part.get("text") or "" if part.get("type") == "text" else ""


def _excerpt(data: bytes) -> str:
    return to_storable(data[:MAX_CAUSE].decode(errors="replace"))


def _parse_chunk(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # the standard library accepts lone surrogates and NaN, which servers written in Python send
            chunk = json.loads(data.decode(errors="replace"))
        except (ValueError, RecursionError):
            raise ModelError("server_error", f"The model server sent malformed JSON: {_excerpt(data)}") from None
    if not isinstance(chunk, dict):
        raise ModelError("server_error", f"The model server sent a chunk that is no object: {_excerpt(data)}")
    return chunk


def _parse_error(data: bytes) -> object:
    try:
        body = _parse_chunk(data)
    except ModelError:
        return data.decode(errors="replace")
    return body.get("error") or body


def _parse_usage(usage: Mapping[str, Any]) -> ModelUsage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return ModelUsage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(prompt, "cached_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
    )


def _count(counts: object, key: str) -> int:
    """Returns a count, which servers may omit, set to null or write as a float."""
    value = counts.get(key) if isinstance(counts, Mapping) else None
    return max(0, int(value)) if isinstance(value, int | float) and value == value else 0
