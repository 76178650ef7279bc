"""Parsers that turn a prompted model's answer, which is JSON, into model events while it is being written: pure.

    {"text": "…"}                                       an answer in words: a text delta for each piece
    {"json": …}                                         an answer in the run's format: the JSON, as it is written
    {"calls": [{"name": "…", "arguments": {…}}, …]}     tool calls: each name, then the arguments as they are written

The division into pieces has no effect on the result. If the model's server does not enforce the schema, the model may
write anything: an answer that is not such JSON from its beginning is passed on as text, and an answer that breaks off
within a call is a ModelError. Other common forms of calls are accepted too: arguments as a string of JSON, arguments
before the name, and a call inside "function".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum, auto

import orjson

from service.model.base import ModelError, ModelEvent, TextDelta, ToolCallDelta
from service.model.call_parser import MAX_TOOL_CALLS, too_many_calls
from service.model.errors import to_storable
from service.partial_json import RawValue, StringPieces

# Characters before a value. A longer head is not JSON of the expected form.
MAX_HEAD = 512
BROKEN = "The model server did not hold its answer to the JSON schema."

_HEAD = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*"(text|json|calls)"\s*:\s*')
_CALL = re.compile(r'\s*(?:\[|\}\s*,)\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_KEY, _STRING = r'"[^"\\]*"\s*:', r'"(?:[^"\\]|\\.)*"'
# The beginning of a call in another form than _CALL's. It matches as soon as a key other than the expected one appears,
# in the first place or after the name.
_OTHER_CALL = re.compile(
    rf'\s*(?:\[|\}}\s*,)\s*(?=\{{\s*(?:(?!"name"){_KEY}|"name"\s*:\s*{_STRING}\s*(?:\}}|,\s*(?!"arguments"){_KEY})))'
)
_FENCE = re.compile(r"\s*(?:```(?:json)?\s*)?(?=\{)")
_CLOSE = re.compile(r"\s*(?:\[\s*|\}\s*)\]")


class _State(Enum):
    START = auto()
    PLAIN = auto()
    QUOTE = auto()
    TEXT = auto()
    JSON = auto()
    CALLS = auto()
    QUOTED_ARGUMENTS = auto()
    ARGUMENTS = auto()
    STRING_ARGUMENTS = auto()
    WHOLE_CALL = auto()
    END = auto()


class AnswerParser:
    """Parses an answer that is a text, JSON or calls.

    `mint` returns a new id for a call. `call_count` is the number of calls that have begun.
    """

    def __init__(self, mint: Callable[[], str]) -> None:
        self.call_count = 0
        self._mint = mint
        self._state = _State.START
        self._rest = ""
        self._skips_spaces = False
        self._string = StringPieces()
        self._value = RawValue()
        self._call_parts: list[str] = []

    def feed(self, piece: str) -> list[ModelEvent]:
        """Returns the events of this piece. Raises ModelError if a list of calls is not valid JSON, or too long."""
        events: list[ModelEvent] = []
        self._rest += piece
        while self._rest:
            if self._skips_spaces:
                # Spaces before a value are not part of it; they may arrive in another piece.
                self._rest = self._rest.lstrip()
                self._skips_spaces = not self._rest
            elif not self._step(events):
                break
        return events

    def end(self) -> list[ModelEvent]:
        """Returns the events of the text that was held back. Raises ModelError if the answer ends within its calls."""
        rest, self._rest = self._rest, ""
        match self._state:
            case _State.START | _State.QUOTE:
                return [TextDelta(rest)] if rest.strip() else []
            case (
                _State.CALLS | _State.QUOTED_ARGUMENTS | _State.ARGUMENTS | _State.STRING_ARGUMENTS | _State.WHOLE_CALL
            ):
                raise ModelError("server_error", BROKEN)
            case _:
                return []

    def _step(self, events: list[ModelEvent]) -> bool:
        """Reads on from the current state. Returns False if it needs another piece."""
        match self._state:
            case _State.START:
                return self._start()
            case _State.QUOTE:
                self._enter_value(_State.TEXT, _State.JSON)
                return True
            case _State.TEXT:
                text, self._rest = self._string.feed(self._rest)
                if self._string.done:
                    self._state = _State.END
                self._emit_text(events, text)
                return True
            case _State.JSON:
                text, self._rest = self._value.feed(self._rest)
                if self._value.done:
                    self._state = _State.END
                self._emit_text(events, text)
                return True
            case _State.CALLS:
                return self._next_call(events)
            case _State.QUOTED_ARGUMENTS:
                self._enter_value(_State.STRING_ARGUMENTS, _State.ARGUMENTS)
                return True
            case _State.ARGUMENTS | _State.STRING_ARGUMENTS:
                reader = self._value if self._state is _State.ARGUMENTS else self._string
                text, self._rest = reader.feed(self._rest)
                if reader.done:
                    self._state = _State.CALLS
                if text:
                    events.append(ToolCallDelta(self.call_count - 1, None, None, text))
                return True
            case _State.WHOLE_CALL:
                text, self._rest = self._value.feed(self._rest)
                self._call_parts.append(text)
                if self._value.done:
                    self._finish_call(events)
                return True
            case _State.PLAIN:
                self._emit_text(events, self._rest)
                self._rest = ""
                return False
            case _State.END:
                self._rest = ""
                return False

    def _start(self) -> bool:
        head = _HEAD.match(self._rest)
        if head is not None:
            self._rest = self._rest[head.end() :]
            states = {"text": _State.QUOTE, "json": _State.JSON, "calls": _State.CALLS}
            self._state = states[head.group(1)]
            self._skips_spaces = True
            return True
        text = self._rest.lstrip()
        if (text and text[0] not in "{`") or len(self._rest) > MAX_HEAD:
            self._state = _State.PLAIN
            return True
        return False

    def _next_call(self, events: list[ModelEvent]) -> bool:
        head = _CALL.match(self._rest)
        if head is not None:
            self._rest = self._rest[head.end() :]
            self._state, self._skips_spaces = _State.QUOTED_ARGUMENTS, True
            self._begin_call(events, _decode_string(head.group(1)), "")
            return True
        other = _OTHER_CALL.match(self._rest)
        if other is not None:
            self._state, self._value, self._call_parts = _State.WHOLE_CALL, RawValue(), []
            self._rest = self._rest[other.end() :]
            return True
        if _CLOSE.match(self._rest):
            self._state = _State.END
            return True
        if len(self._rest) > MAX_HEAD:
            raise ModelError("server_error", BROKEN)
        return False

    def _enter_value(self, string: _State, value: _State) -> None:
        """Enters the state `string` if a JSON string begins here, otherwise the state `value`."""
        is_string = self._rest[0] == '"'
        self._state, self._rest = (string, self._rest[1:]) if is_string else (value, self._rest)
        self._string, self._value = StringPieces(), RawValue()

    def _finish_call(self, events: list[ModelEvent]) -> None:
        """Parses a call that was held back until it was complete. Raises ModelError if it is not a call."""
        try:
            call = json.loads("".join(self._call_parts))
            call = call.get("function", call)
            name, arguments = call["name"], call.get("arguments", {})
            arguments_json = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise ModelError("server_error", BROKEN) from None
        if not isinstance(name, str):
            raise ModelError("server_error", BROKEN)
        self._begin_call(events, to_storable(name), to_storable(arguments_json))
        # The state CALLS expects the brace that ends a call, as after arguments.
        self._state, self._rest = _State.CALLS, "}" + self._rest

    def _begin_call(self, events: list[ModelEvent], name: str, arguments: str) -> None:
        if self.call_count == MAX_TOOL_CALLS:
            raise too_many_calls()
        self.call_count += 1
        events.append(ToolCallDelta(self.call_count - 1, self._mint(), name, arguments))

    def _emit_text(self, events: list[ModelEvent], text: str) -> None:
        if text:
            events.append(TextDelta(text))


class ArgumentsParser:
    """Parses an answer that consists of the arguments of one required function, a JSON object."""

    def __init__(self, name: str, mint: Callable[[], str]) -> None:
        self.call_count = 0
        self._name = name
        self._mint = mint
        self._value = RawValue()
        self._parts: list[str] = []
        self._head = ""

    def feed(self, piece: str) -> list[ModelEvent]:
        """Returns the events of this piece. Raises ModelError if the answer does not begin with an object."""
        events: list[ModelEvent] = []
        if not self.call_count:
            self._head += piece
            fence = _FENCE.match(self._head)
            if fence is None:
                if len(self._head) > MAX_HEAD:
                    raise ModelError("server_error", BROKEN)
                return []
            self.call_count, piece = 1, self._head[fence.end() :]
            events.append(ToolCallDelta(0, self._mint(), self._name, ""))
        if not self._value.done:
            text, _ = self._value.feed(piece)
            self._parts.append(text)
            events += [ToolCallDelta(0, None, None, text)] if text else []
        return events

    def end(self) -> list[ModelEvent]:
        """Returns no events. Raises ModelError if the arguments are not a complete JSON object."""
        try:
            orjson.loads("".join(self._parts))
        except orjson.JSONDecodeError:
            raise ModelError("server_error", BROKEN) from None
        return []


def _decode_string(literal: str) -> str:
    """Decodes a JSON string. If it is malformed, returns the text between the quotes."""
    try:
        return to_storable(str(orjson.loads(literal)))
    except orjson.JSONDecodeError:
        return to_storable(literal[1:-1])
