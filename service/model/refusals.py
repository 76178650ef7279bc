"""Finds the optional fields of a request that an upstream refuses, and remembers them for later calls.

OpenAI-compatible servers support different parts of the API, and refuse a request that has a field which they do not
know. So if the answer to a request refuses one of its optional fields, the field is left out for that upstream and
model from then on, and the call is made again. The same holds for forms of messages that a server refuses, such as two
messages of the user in a row: `build_body` then writes another form.

A refusal must name the field: in `param`, in `loc`, or in its text. It is on trial until the upstream accepts a request
without it, because a text may also name fields that are supported. A refusal of the field's *value* (a temperature out
of range, an invalid schema) is an error of the client, and is not learned.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

STREAM_OPTIONS = "stream_options"
# Names of refusals that are not names of top-level fields.
TOP_P_BESIDE_TEMPERATURE = "top_p beside temperature"
STRICT = "strict"
IMAGE_DETAIL = "image detail"
ROLES_IN_A_ROW = "roles that do not alternate"
SYSTEM_ROLE = "system role"
FOREIGN_CALL_IDS = "tool call ids of other servers"
NULL_CONTENT = "null content"

OPTIONAL_FIELDS = (
    STREAM_OPTIONS,
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "tool_choice",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "max_tokens",
)
LIMITS = ("max_completion_tokens", "max_tokens")
# Statuses of answers that may refuse a field. llama.cpp answers 500 if its chat template refuses the messages.
REFUSAL_STATUSES = frozenset({400, 422, 500, 501})
MAX_MODELS = 1000  # that one upstream remembers; clients choose the names
MAX_DEPTH = 8  # of an error body
MAX_WORDS = 20_000  # characters of an error body that are searched

# Fields that are in every request. A refusal of a part of them is not a refusal of an optional field.
_REQUIRED_FIELDS = frozenset({"messages", "tools", "model", "stream", "input", "prompt"})
_WORDS = ("message", "msg", "detail", "error", "errors", "description", "reason", "type", "code", "title", "error_code")
_PLACES = ("param", "loc", "field", "path", "parameter", "property", "argument")
_UNSUPPORTED = re.compile(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|unavailable|not (?:\w+ ){0,3}(?:support|permit|allow|implement"
    r"|available|accept|recogni[sz]ed|enabled|valid)|n't (?:\w+ ){0,2}(?:support|allow|accept)|no (?:such|longer)"
    r"|extra|forbidden|deprecated|cannot|can't|could not|disabled|only (?:the )?(?:default|support)|invalid (?:param"
    r"|argument|field|name|request arg)|must (?:not|be (?:omitted|removed|left))|remove|requires? ",
    re.IGNORECASE,
)
# Words that refuse a field and not its value, even beside words of _RANGE.
_UNKNOWN = re.compile(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|not (?:\w+ ){0,3}support|n't (?:\w+ ){0,2}support|no such"
    r"|extra[ _](?:inputs|fields|forbidden)|deprecated|unavailable|\bboth\b|only the default|not implemented",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"less than|greater than|between|out of range|\brange\b|too (?:large|small|long|many|high|low|big)|maximum|minimum"
    r"|exceed|at (?:most|least)|[<>]=|≤|≥|below|above|valid number|decimal_|integer_|number_(?!not)",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"less than|too (?:large|many|high|big|long)|maximum|exceed|at most|<=|≤|above", re.IGNORECASE)
_SCHEMA = re.compile(
    r"invalid (?:json )?schema|schema (?:is )?(?:invalid|not valid|too|contains|error|conversion)|in context|grammar"
    r"|unrecogni[sz]ed schema|additional_?properties|\$ref|keyword|oneof|anyof|'required'|json_schema\.schema",
    re.IGNORECASE,
)
_ALTERNATION = re.compile(
    r"alternat|consecutive|in a row|multiple .{0,30}roles?|same role|roles? must|last (?:role|message)"
    r"|no user|at least one (?:user |non-system )?message|unexpected role|after (?:role|a tool|the tool)"
    r"|first (?:role|message)|must (?:start|begin|end) with|system message.{0,40}(?:beginning|first|start)"
    r"|ends? with .{0,20}(?:assistant|user)",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system (?:role|message|prompt|instruction)s?.{0,40}(?:not|n't|unsupported)"
    r"|(?:unsupported|unknown|invalid|unexpected).{0,20}role.{0,12}system|developer instruction.{0,20}not enabled",
    re.IGNORECASE | re.DOTALL,
)
_CALL_ID = re.compile(r"tool[ _-]?(?:call|use)s?[ _.\[\]\d-]*id|call_id|tool_use_id", re.IGNORECASE)
_NO_NULL = re.compile(
    r"content.{0,80}(?:null|none|valid string|required|missing|must be a string|expected a string|input should be)",
    re.IGNORECASE | re.DOTALL,
)


def _pattern(name: str) -> re.Pattern[str]:
    """Returns a pattern of the field's name, also written with spaces, hyphens or capitals: "top-p", "topP"."""
    return re.compile(r"(?<![a-zA-Z0-9])" + name.replace("_", r"[_\s-]?") + r"(?![a-zA-Z0-9])", re.IGNORECASE)


_NAMES = {name: _pattern(name) for name in (*OPTIONAL_FIELDS, STRICT)}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An upstream's refusal of a request. `names` are the fields and forms that it may be about, the likeliest first.

    If `only_now` is set, the limit of tokens is too large for the model, and left out for this call only.
    """

    names: tuple[str, ...]
    only_now: bool = False


NO_REFUSAL = Refusal(())


def read_refusal(status: int | None, body: object) -> Refusal:
    """Returns the refusal in an error body, which is JSON, a text or None. Most errors have one without names."""
    if status is None or status not in REFUSAL_STATUSES:
        return NO_REFUSAL
    words = " ".join(_texts(body, 0))[:MAX_WORDS]
    places = [place for place in _places(body, 0) if place]
    if status >= 500 and not (_UNKNOWN.search(words) or _ALTERNATION.search(words)):
        return NO_REFUSAL  # the server failed, perhaps only this time
    located = list(dict.fromkeys(name for place in places for name in _field_at(place)))
    is_elsewhere = any(_first_part(place) in _REQUIRED_FIELDS for place in places)
    names = located or ([] if is_elsewhere else _fields_in(words))
    if {"temperature", "top_p"} <= {name for name, pattern in _NAMES.items() if pattern.search(words)} | set(located):
        names = [TOP_P_BESIDE_TEMPERATURE, *names]
    kept = [name for name in names if not _is_about_value(name, words)]
    too_large = [name for name in names if name in LIMITS and name not in kept and _TOO_LARGE.search(words)]
    if too_large and not kept:
        return Refusal(tuple(too_large), only_now=True)
    return Refusal((*kept, *_forms(" ".join((*places, words)))))


def _texts(body: object, depth: int) -> Iterator[str]:
    """Yields the texts of an error body, without the copies of the request that some servers add to it."""
    if isinstance(body, str):
        nested = _parse(body)
        yield body if nested is None else body[: body.find("{")]
        yield from _texts(nested, depth + 1)
    elif isinstance(body, Mapping) and depth < MAX_DEPTH:
        for key in _WORDS:
            yield from _texts(body.get(key), depth + 1)
    elif isinstance(body, list) and depth < MAX_DEPTH:
        for one in body:
            yield from _texts(one, depth + 1)


def _places(body: object, depth: int) -> Iterator[str]:
    """Yields the places that an error body names, as dotted paths."""
    if isinstance(body, str) and (nested := _parse(body)) is not None:
        yield from _places(nested, depth + 1)
    elif isinstance(body, Mapping) and depth < MAX_DEPTH:
        for key in _PLACES:
            place = body.get(key)
            if isinstance(place, list):
                yield ".".join(str(part) for part in place if part != "body")
            elif isinstance(place, str):
                yield place.removeprefix("body.")
        for key in _WORDS:
            yield from _places(body.get(key), depth + 1)
    elif isinstance(body, list) and depth < MAX_DEPTH:
        for one in body:
            yield from _places(one, depth + 1)


def _parse(text: str) -> object | None:
    """Returns the JSON in an error's text, which gateways quote from the server behind them, or None."""
    start = text.find("{")
    if start < 0 or not text.rstrip().endswith(("}", "]")):
        return None
    try:
        found: object = orjson.loads(text[start:])
    except orjson.JSONDecodeError:
        return None
    return found


def _first_part(place: str) -> str:
    return re.split(r"[.\[/]", place.lstrip("/"), maxsplit=1)[0]


def _field_at(place: str) -> Iterator[str]:
    """Yields the field that a path such as `tools.0.function.strict` names, if it is optional."""
    parts = [part for part in re.split(r"[.\[\]/]+", place) if part]
    if STRICT in parts:
        yield STRICT
    elif "image_url" in parts and "detail" in parts:
        yield IMAGE_DETAIL
    for part in parts:
        if part in _REQUIRED_FIELDS:
            return
        yield from (name for name in OPTIONAL_FIELDS if _NAMES[name].fullmatch(part))


def _fields_in(words: str) -> list[str]:
    """Returns the optional fields in a text, in order. A word of plain language counts only beside words of refusal."""
    found = sorted((match.start(), name) for name, pattern in _NAMES.items() if (match := pattern.search(words)))
    is_refusal, is_range = _UNSUPPORTED.search(words), _RANGE.search(words)
    return [name for _, name in found if is_refusal or name in LIMITS or ("_" in name and not is_range)]


def _is_about_value(name: str, words: str) -> bool:
    """Whether the server knows the field and refuses the value that a client gave it."""
    if name in ("response_format", STRICT):
        return bool(_SCHEMA.search(words))
    if name in ("temperature", "top_p", *LIMITS):
        return bool(_RANGE.search(words)) and not _UNKNOWN.search(words)
    return False


def _forms(words: str) -> list[str]:
    """Returns the forms of messages that a text may refuse."""
    patterns = {
        ROLES_IN_A_ROW: _ALTERNATION,
        SYSTEM_ROLE: _NO_SYSTEM,
        FOREIGN_CALL_IDS: _CALL_ID,
        NULL_CONTENT: _NO_NULL,
    }
    return [form for form, pattern in patterns.items() if pattern.search(words)]


class LearnedRefusals:
    """The names of all that one upstream has refused, by model. Bounded: the models used longest ago are forgotten."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, frozenset[str]] = OrderedDict()

    def names(self, model: str) -> frozenset[str]:
        return self._names.get(model, frozenset())

    def add(self, model: str, name: str) -> bool:
        """Returns True if the name is new."""
        before = self._names.pop(model, frozenset())
        self._names[model] = before | {name}
        while len(self._names) > MAX_MODELS:
            self._names.popitem(last=False)
        return name not in before


@dataclass(slots=True)
class RefusalTrial:
    """The refusals that one call respects: `learned` ones, and one on trial, which the upstream has just named."""

    learned: set[str]
    _now: set[str] = field(default_factory=set)
    _on_trial: str | None = None
    _tried: set[str] = field(default_factory=set)

    @property
    def names(self) -> frozenset[str]:
        """All names to respect in the next request."""
        return frozenset(self.learned | self._now | ({self._on_trial} if self._on_trial else set()))

    def start(self, refusal: Refusal, sent: Collection[str]) -> tuple[bool, Sequence[str]]:
        """Puts the next name of a refusal on trial. `sent` are the names that the refused request contained.

        Returns whether there is such a name, so that the call is worth repeating, and the names that were learned: the
        former name, if the upstream complains about another one now.
        """
        if not refusal.names:
            return False, ()
        former, confirmed = self._on_trial, list[str]()
        self._on_trial = None
        if former is not None and former not in refusal.names:
            confirmed = self._learn(former)
        name = next((name for name in refusal.names if name in sent and name not in self._tried), None)
        if name is None:
            return False, confirmed
        self._tried.add(name)
        if refusal.only_now:
            self._now.update(LIMITS)
        else:
            self._on_trial = name
        return True, confirmed

    def confirm(self) -> Sequence[str]:
        """Ends the trial, because the upstream has accepted a request. Returns the names that were learned."""
        name, self._on_trial = self._on_trial, None
        return [] if name is None else self._learn(name)

    def _learn(self, name: str) -> list[str]:
        self.learned.add(name)
        return [name]


def sent_names(body: Mapping[str, Any], forms: Iterable[str]) -> frozenset[str]:
    """Returns the names of refusals that could concern a request with this body and these forms of messages."""
    names = {name for name in OPTIONAL_FIELDS if name in body} | set(forms)
    if {"temperature", "top_p"} <= names:
        names.add(TOP_P_BESIDE_TEMPERATURE)
    schemas = [
        body.get("response_format", {}).get("json_schema", {}),
        *(tool["function"] for tool in body.get("tools", ())),
    ]
    if any(STRICT in each for each in schemas):
        names.add(STRICT)
    return frozenset(names)
