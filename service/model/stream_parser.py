"""Parsing the bytes of a streamed chat completion into model events: pure, without a clock or I/O.

`sse_lines` divides the bytes into events of the stream. Each of them is a stream chunk (a JSON object), `[DONE]`, or an
error. Servers differ, and the parser accepts the known variants: usage with or after the last choice or never, tool
calls whole or in pieces, without index or id or with the same index for all, the old function_call, an end without a
finish_reason, parts of characters, and one JSON document in place of a stream. Everything else is a ModelError that
says what came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from service.model import sse_lines
from service.model.base import (
    FinishReason,
    ModelError,
    ModelEvent,
    ModelStreamEnd,
    ModelUsage,
    RefusalDelta,
    TextDelta,
)
from service.model.call_parser import CallParser
from service.model.errors import AnswerTooLarge, ModelStreamError, excerpt
from service.model.kept_fields import KeptFields
from service.model.split_characters import CharacterJoiner
from service.model.sse_lines import MARK, LineReader, StreamItem, divide, is_end
from service.model.stream_chunks import error_in, items_of, only_text, parse_chunk, parse_error, text_of
from service.model.text_template import TextTemplate
from service.model.usage_parser import parse_usage

# Characters of one reply: text, refusal, arguments and reasoning. A model that says more does not stop by itself.
MAX_REPLY = 2_000_000
MAX_STREAM_BYTES = 256 * 1024 * 1024  # of one call, with what is no part of the reply

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
}
_NO_REASON = "null"  # some servers write the word
# Reasons of servers that gave up, so the call may be tried again.
_FAILURES = frozenset({"error", "abort", "network_error", "insufficient_system_resource"})


class StreamParser:
    """Turns the bytes of an answer into model events. After `done`, or a `failure`, it ignores further bytes.

    A failure is stored and not raised, because the events before it in the same read are valid. A reply that exceeds
    MAX_REPLY ends there, with the reason "length".

    `mint` returns an id for a tool call to which the server gave none. `chunk_count` is the number of stream chunks;
    it distinguishes a server that thinks from a server that only keeps the connection open with comments. `is_document`
    is for a server that answers a streaming request with one JSON document, if the answer begins as one. `names` are
    the functions of the request.
    """

    def __init__(
        self, mint: Callable[[], str], model: str = "", is_document: bool = False, names: Collection[str] = ()
    ) -> None:
        self.chunk_count = 0
        self.done = False
        self.failure: ModelError | None = None
        self._model = model
        self._is_document = is_document
        self._document: list[bytes] = []
        self._lines = LineReader()
        self._bytes_read = 0
        self._size = 0
        self._has_choices = False
        self._has_deltas = False
        self._strange_chunk = b""
        self._reason: str | None = None
        self._usage: ModelUsage | None = None
        self._template = TextTemplate()
        self._text = CharacterJoiner()
        self._refusal = CharacterJoiner()
        self._calls = CallParser(mint, names)
        self._kept = KeptFields()

    @property
    def has_reason(self) -> bool:
        """Whether the server gave a finish_reason, so that the answer is complete although the stream has no end."""
        return self._reason is not None and self.failure is None and not self.done

    def feed(self, data: bytes) -> list[ModelEvent]:
        """Returns the events that these bytes complete. If the bytes are invalid, the stream ends with a `failure`."""
        events: list[ModelEvent] = []
        if self.failure is None and not self.done:
            self._try(lambda: self._read(data, events), events)
        return events

    def end(self) -> list[ModelEvent]:
        """Returns the last events, ending with ModelStreamEnd. If the answer is incomplete, it sets `failure`."""
        events: list[ModelEvent] = []
        if self.failure is None and not self.done:
            self._try(lambda: self._read_end(events), events)
        return events

    def _try(self, read: Callable[[], None], events: list[ModelEvent]) -> None:
        """Reads, and ends the stream if that fails. An answer that becomes too large is a reply that was cut off."""
        try:
            try:
                read()
            except AnswerTooLarge:
                if not self._size:
                    raise
                self._reason = "length"
                self._finish(events)
        except ModelError as error:
            self.failure = error

    def _read(self, data: bytes, events: list[ModelEvent]) -> None:
        self._bytes_read += len(data)
        if self._bytes_read > MAX_STREAM_BYTES:
            raise AnswerTooLarge(f"The model server sent more than {MAX_STREAM_BYTES} bytes in one answer.")
        if self._is_document and not self._document:
            beginning = data.removeprefix(MARK).lstrip()
            self._is_document = not beginning or beginning.startswith((b"{", b"["))
            data = beginning
        if not self._is_document:
            self._read_items(self._lines.feed(data), events)
            return
        if data:
            self._document.append(data)
        if self._bytes_read > sse_lines.MAX_EVENT_BYTES:
            raise AnswerTooLarge(f"The model server sent an event of more than {sse_lines.MAX_EVENT_BYTES} bytes.")

    def _read_end(self, events: list[ModelEvent]) -> None:
        document = b"".join(self._document)
        if not self._is_document:
            self._read_items(self._lines.end(), events)
            document = b"" if self.chunk_count else self._lines.other_text
        document = document.removeprefix(MARK).strip()
        if document and not self.done:
            if not document.startswith((b"{", b"[")):
                raise ModelError("server_error", f"The model server sent no chat completion: {excerpt(document)}")
            self._read_data(document, events)
        if not self.done:
            if self._reason is None:
                raise ModelError("server_error", self._incomplete_answer())
            self._finish(events)

    def _read_items(self, items: list[StreamItem], events: list[ModelEvent]) -> None:
        for item in items:
            if self.done:
                return
            if item.is_error:
                raise ModelStreamError(parse_error(item.data))
            if text := self._template.text_of(item.data):
                self.chunk_count += 1
                self._model = self._template.model or self._model
                self._read_text(text, events)
            else:
                self._read_data(item.data, events)

    def _read_data(self, data: bytes, events: list[ModelEvent]) -> None:
        """Reads the data of an event. If they are several documents, each is read by itself."""
        if not is_end(data):
            try:
                chunk = parse_chunk(data)
            except AnswerTooLarge:
                raise
            except ModelError:
                documents = divide(data)
                if not documents or documents == [data]:
                    raise
                self._read_items([StreamItem(document) for document in documents], events)
                return
            self._read_chunk(chunk, data, events)
        elif self._reason is None and not self._size and not self._calls.count:
            raise ModelError("server_error", self._incomplete_answer())
        else:  # some servers send no finish_reason
            self._finish(events)

    def _incomplete_answer(self) -> str:
        """Returns a sentence about an answer that has no end."""
        if self._has_choices:
            return "The model server ended its answer without a finish_reason."
        if self._strange_chunk:
            return f"The model server sent JSON that is no chat completion: {excerpt(self._strange_chunk)}"
        return "The model server sent an empty answer."

    def _read_chunk(self, chunk: Mapping[str, Any], data: bytes, events: list[ModelEvent]) -> None:
        text = only_text(chunk)
        error = None if text else error_in(chunk)
        if error:
            raise ModelStreamError(error)
        self.chunk_count += 1
        model = chunk.get("model")
        model = model if isinstance(model, str) else ""
        self._model = model or self._model
        if text:
            self._has_choices = self._has_deltas = True
            self._template.learn(data, text, model)
            self._read_text(text, events)
        else:
            self._read_whole_chunk(chunk, data, events)
            self._end_at_bound(events)

    def _read_whole_chunk(self, chunk: Mapping[str, Any], data: bytes, events: list[ModelEvent]) -> None:
        for place in (chunk, chunk.get("x_groq")):
            self._read_usage(place)
        choices = chunk.get("choices")
        if choices is None:
            self._strange_chunk = self._strange_chunk or data
        try:
            for choice in items_of(choices):
                if not int(choice.get("index") or 0):  # requests ask for one choice; others are ignored
                    self._read_choice(choice, events)
        except (AttributeError, TypeError, ValueError, RecursionError) as wrong_shape:
            raise ModelError(
                "server_error", f"The model server sent a chunk of a wrong shape: {excerpt(data)}"
            ) from wrong_shape

    def _read_usage(self, place: object) -> None:
        """Reads the token counts in a chunk, a choice, or another object that has them."""
        usage = place.get("usage") if isinstance(place, dict) else None
        if usage and isinstance(usage, dict):
            self._usage = parse_usage(usage)

    def _read_choice(self, choice: Mapping[str, Any], events: list[ModelEvent]) -> None:
        if choice.get("error"):
            raise ModelStreamError(choice["error"])
        self._has_choices = True
        self._read_usage(choice)
        delta = choice.get("delta")
        if isinstance(delta, str):
            delta = {"content": delta}
        if delta:
            self._has_deltas = True
        elif not self._has_deltas:  # a message after deltas repeats them
            delta = choice.get("message") or {"content": choice.get("text")}
        self._read_delta(delta or {}, events)
        reason = str(choice.get("finish_reason") or _NO_REASON).lower()
        if reason != _NO_REASON:
            self._reason = reason

    def _within_bound(self, text: str) -> str:
        """Returns the part of a piece of the reply that the reply still may have, and counts it."""
        text = text[: MAX_REPLY - self._size]
        self._size += len(text)
        return text

    def _read_delta(self, delta: Mapping[str, Any], events: list[ModelEvent]) -> None:
        for name in ("reasoning_content", "reasoning"):
            if isinstance(delta.get(name), str):
                self._within_bound(delta[name])
        self._kept.read_message(delta)
        content = delta.get("content")
        if content:
            self._add_text(text_of(content), events)
        if delta.get("refusal"):
            refusal = self._refusal.feed(self._within_bound(delta["refusal"]))
            if refusal:
                events.append(RefusalDelta(refusal))
        for piece in items_of(delta.get("tool_calls")):
            function = piece.get("function") or piece
            events += self._calls.read(piece.get("index"), piece.get("id"), function, self._within_bound)
            self._kept.read_call(self._calls.last_read, piece)
        function_call = delta.get("function_call")
        if function_call:
            events += self._calls.read(0, None, function_call, self._within_bound)

    def _read_text(self, piece: str, events: list[ModelEvent]) -> None:
        """Reads a piece of the text, and ends the reply at its bound."""
        self._add_text(piece, events)
        if self._size >= MAX_REPLY:
            self._end_at_bound(events)

    def _add_text(self, piece: str, events: list[ModelEvent]) -> None:
        text = self._text.feed(self._within_bound(piece))
        if text:
            events.append(TextDelta(text))

    def _end_at_bound(self, events: list[ModelEvent]) -> None:
        if self._size >= MAX_REPLY:
            self._reason = "length"
            self._finish(events)

    def _finish(self, events: list[ModelEvent]) -> None:
        if self._reason in _FAILURES:
            raise ModelError("server_error", f"The model server ended its answer with finish_reason {self._reason}.")
        call_ends = self._calls.end()
        if text := self._text.end():
            events.append(TextDelta(text))
        if refusal := self._refusal.end():
            events.append(RefusalDelta(refusal))
        events += call_ends
        reason = _REASONS.get(self._reason or "stop", "stop")
        if reason in ("stop", "tool_calls"):  # some servers send stop after calls, or tool_calls without calls
            reason = "tool_calls" if self._calls.count else "stop"
        self.done = True
        if not self._calls.count:
            events.append(ModelStreamEnd(reason, self._usage, self._model))
            return
        message_fields, call_fields = self._kept.end()
        events.append(
            ModelStreamEnd(reason, self._usage, self._model, message_fields=message_fields, call_fields=call_fields)
        )
