"""A prompted model's answer, which is JSON, into model events while it is being written. Pure.

    {"text": "…"}                                       an answer in words: text, as its characters come
    {"json": …}                                         one in the form that the run wants: text, as it is written
    {"calls": [{"name": "…", "arguments": {…}}, …]}     tool calls: each name, then its arguments as they come

Where the pieces are cut means nothing. A model whose server did not hold it to the schema may write anything: what is
no such JSON from its beginning is shown as the text it is, and what breaks off within a call is a ModelError. Calls may
come as models write them elsewhere: arguments as a string of JSON, in front of the name, or below "function".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import Enum, auto

import orjson

from service.model.base import ModelError, ModelEvent, TextDelta, ToolCallDelta
from service.model.errors import clean
from service.partial_json import RawValue, StringPieces

# Characters before a value: more than that is no head of ours.
MAX_HEAD = 512
BROKEN = "The model server did not hold its answer to the JSON schema."

_HEAD = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*"(text|json|calls)"\s*:\s*')
_CALL = re.compile(r'\s*(?:\[|\}\s*,)\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_KEY, _STRING = r'"[^"\\]*"\s*:', r'"(?:[^"\\]|\\.)*"'
# A call of another form than _CALL's, as soon as that can be told: what comes first, or behind the name.
_OTHER_CALL = re.compile(
    rf'\s*(?:\[|\}}\s*,)\s*(?=\{{\s*(?:(?!"name"){_KEY}|"name"\s*:\s*{_STRING}\s*(?:\}}|,\s*(?!"arguments"){_KEY})))'
)
_FENCE = re.compile(r"\s*(?:```(?:json)?\s*)?(?=\{)")
_CLOSE = re.compile(r"\s*(?:\[\s*|\}\s*)\]")


class _Place(Enum):
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


class Answer:
    """`mint` makes the id of a call. `called` counts the calls that have begun."""

    def __init__(self, mint: Callable[[], str]) -> None:
        self.called = 0
        self._mint = mint
        self._place = _Place.START
        self._rest = ""
        self._fresh = False
        self._string = StringPieces()
        self._value = RawValue()
        self._held: list[str] = []

    def feed(self, piece: str) -> list[ModelEvent]:
        """The events that this piece brings. Raises ModelError where a list of calls breaks JSON's rules."""
        events: list[ModelEvent] = []
        self._rest += piece
        while self._rest:
            if self._fresh:
                # Spaces in front of a value are no part of it, whichever piece they come with.
                self._rest = self._rest.lstrip()
                self._fresh = not self._rest
            elif not self._step(events):
                break
        return events

    def end(self) -> list[ModelEvent]:
        """What was held back: the answer is over. Raises ModelError where it ends within its calls."""
        rest, self._rest = self._rest, ""
        match self._place:
            case _Place.START | _Place.QUOTE:
                return [TextDelta(rest)] if rest.strip() else []
            case (
                _Place.CALLS | _Place.QUOTED_ARGUMENTS | _Place.ARGUMENTS | _Place.STRING_ARGUMENTS | _Place.WHOLE_CALL
            ):
                raise ModelError("server_error", BROKEN)
            case _:
                return []

    def _step(self, events: list[ModelEvent]) -> bool:
        """Reads on from one place; whether there may be more to read."""
        match self._place:
            case _Place.START:
                return self._start()
            case _Place.QUOTE:
                self._quoted(_Place.TEXT, _Place.JSON)
                return True
            case _Place.TEXT:
                text, self._rest = self._string.feed(self._rest)
                if self._string.done:
                    self._place = _Place.END
                self._say(events, text)
                return True
            case _Place.JSON:
                text, self._rest = self._value.feed(self._rest)
                if self._value.done:
                    self._place = _Place.END
                self._say(events, text)
                return True
            case _Place.CALLS:
                return self._next_call(events)
            case _Place.QUOTED_ARGUMENTS:
                self._quoted(_Place.STRING_ARGUMENTS, _Place.ARGUMENTS)
                return True
            case _Place.ARGUMENTS | _Place.STRING_ARGUMENTS:
                reader = self._value if self._place is _Place.ARGUMENTS else self._string
                text, self._rest = reader.feed(self._rest)
                if reader.done:
                    self._place = _Place.CALLS
                if text:
                    events.append(ToolCallDelta(self.called - 1, None, None, text))
                return True
            case _Place.WHOLE_CALL:
                text, self._rest = self._value.feed(self._rest)
                self._held.append(text)
                if self._value.done:
                    self._whole_call(events)
                return True
            case _Place.PLAIN:
                self._say(events, self._rest)
                self._rest = ""
                return False
            case _Place.END:
                self._rest = ""
                return False

    def _start(self) -> bool:
        head = _HEAD.match(self._rest)
        if head is not None:
            self._rest = self._rest[head.end() :]
            places = {"text": _Place.QUOTE, "json": _Place.JSON, "calls": _Place.CALLS}
            self._place = places[head.group(1)]
            self._fresh = True
            return True
        begun = self._rest.lstrip()
        if (begun and begun[0] not in "{`") or len(self._rest) > MAX_HEAD:
            self._place = _Place.PLAIN
            return True
        return False

    def _next_call(self, events: list[ModelEvent]) -> bool:
        head = _CALL.match(self._rest)
        if head is not None:
            self._rest = self._rest[head.end() :]
            self._place, self._fresh = _Place.QUOTED_ARGUMENTS, True
            self._begin(events, _string(head.group(1)), "")
            return True
        other = _OTHER_CALL.match(self._rest)
        if other is not None:
            self._place, self._value, self._held = _Place.WHOLE_CALL, RawValue(), []
            self._rest = self._rest[other.end() :]
            return True
        if _CLOSE.match(self._rest):
            self._place = _Place.END
            return True
        if len(self._rest) > MAX_HEAD:
            raise ModelError("server_error", BROKEN)
        return False

    def _quoted(self, string: _Place, value: _Place) -> None:
        """Reads on with a string's text where one begins, else with a value as it is written."""
        quoted = self._rest[0] == '"'
        self._place, self._rest = (string, self._rest[1:]) if quoted else (value, self._rest)
        self._string, self._value = StringPieces(), RawValue()

    def _whole_call(self, events: list[ModelEvent]) -> None:
        """A call that was held back until it was whole. Raises ModelError where it is none."""
        try:
            call = json.loads("".join(self._held))
            call = call.get("function", call)
            name, arguments = call["name"], call.get("arguments", {})
            written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise ModelError("server_error", BROKEN) from None
        if not isinstance(name, str):
            raise ModelError("server_error", BROKEN)
        self._begin(events, clean(name), clean(written))
        self._place, self._rest = _Place.CALLS, "}" + self._rest  # the brace that ends the call, as behind arguments

    def _begin(self, events: list[ModelEvent], name: str, arguments: str) -> None:
        self.called += 1
        events.append(ToolCallDelta(self.called - 1, self._mint(), name, arguments))

    def _say(self, events: list[ModelEvent], text: str) -> None:
        if text:
            events.append(TextDelta(text))


class Arguments:
    """The answer where one function must be called: nothing but its arguments, a JSON object."""

    def __init__(self, name: str, mint: Callable[[], str]) -> None:
        self.called = 0
        self._name = name
        self._mint = mint
        self._value = RawValue()
        self._said: list[str] = []
        self._head = ""

    def feed(self, piece: str) -> list[ModelEvent]:
        """Raises ModelError where no object begins."""
        events: list[ModelEvent] = []
        if not self.called:
            self._head += piece
            fence = _FENCE.match(self._head)
            if fence is None:
                if len(self._head) > MAX_HEAD:
                    raise ModelError("server_error", BROKEN)
                return []
            self.called, piece = 1, self._head[fence.end() :]
            events.append(ToolCallDelta(0, self._mint(), self._name, ""))
        if not self._value.done:
            text, _ = self._value.feed(piece)
            self._said.append(text)
            events += [ToolCallDelta(0, None, None, text)] if text else []
        return events

    def end(self) -> list[ModelEvent]:
        """Raises ModelError where the arguments are no whole JSON object."""
        try:
            orjson.loads("".join(self._said))
        except orjson.JSONDecodeError:
            raise ModelError("server_error", BROKEN) from None
        return []


def _string(written: str) -> str:
    """A JSON string that may be broken: then as it was written."""
    try:
        return clean(str(orjson.loads(written)))
    except orjson.JSONDecodeError:
        return clean(written[1:-1])
