"""Finds the fields of a request and the forms of its messages that an upstream refuses.

OpenAI-compatible servers support different parts of the API, and refuse a request that has a field which they do not
know. So if the answer to a request refuses one of its optional fields, the field is left out for that upstream and
model from then on, and the call is made again. The same holds for forms of messages that a server refuses, such as two
messages of the user in a row: `build_body` then writes another form.

A refusal must name the field: in `param`, in `loc`, or in its text. It is on trial until the upstream accepts a request
without it (`refusal_trial`), because a text may also name fields that are supported. A refusal of the field's *value*
(a temperature out of range, an invalid schema) is an error of the client, and is not learned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from service.model import refusal_words as words_of
from service.model.error_bodies import places as places_in
from service.model.error_bodies import texts as texts_in
from service.model.refusal_names import (
    CALLS_WITHOUT_TOOLS,
    EMPTY_CONTENT,
    FOREIGN_CALL_IDS,
    FORMAT_BESIDE_TOOLS,
    IMAGE_DETAIL,
    IMAGES,
    KEYWORD,
    LIMITS,
    NO_REASONING,
    NO_SIGNATURE,
    NULL_CONTENT,
    OPTIONAL_FIELDS,
    RESPONSE_FORMAT,
    ROLES_IN_A_ROW,
    SEVERAL_CALLS,
    STEPS,
    STREAM,
    STREAM_BESIDE_FORMAT,
    STREAM_BESIDE_TOOLS,
    STRICT,
    SYSTEM_ROLE,
    TOOL_ROLE,
    TOOLS,
    TOP_P_BESIDE_TEMPERATURE,
)
from service.model.schema_keywords import DISPENSABLE

# Statuses of answers that may refuse a field. Those of _FAILURES do so only in clear words: llama.cpp answers 500 if
# its chat template refuses the messages, OpenRouter 404 if no provider supports a field, gateways 502.
REFUSAL_STATUSES = frozenset({400, 422})
_FAILURES = frozenset({None, 403, 404, 405, 415, 500, 501, 502})  # None: an error inside a stream
MAX_WORDS = 10_000  # characters of an error body that are searched
MAX_PLACES = 100  # that are searched for fields

# Fields that are in every request. A refusal of a part of them is not a refusal of an optional field.
_REQUIRED_FIELDS = frozenset({"messages", "tools", "model", "stream", "input", "prompt"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An upstream's refusal of a request. `names` are the fields and forms that it may be about, the likeliest first.

    `now` are fields to leave out of this call only, because the value does not suit the model or the other fields.
    `values` are fields whose value is refused. If `is_about_tools` is set, the model may have no tools at all.
    """

    names: tuple[str, ...] = ()
    now: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    is_about_tools: bool = False


NO_REFUSAL = Refusal()


def read_refusal(status: int | None, body: object) -> Refusal:
    """Returns the refusal in an error body, which is JSON, a text or None. Most errors have one without names.

    `status` is None if the error arrived inside a stream without a status.
    """
    if status not in REFUSAL_STATUSES and status not in _FAILURES:
        return NO_REFUSAL
    words = words_of.URL.sub(" ", " ".join(texts_in(body))[:MAX_WORDS])
    if words_of.OTHER_CAUSES.search(words):
        return NO_REFUSAL
    places = list(islice((place for place in places_in(body) if place), MAX_PLACES))
    forms = _forms(" ".join((*places, words)), places)
    lacks_tools = words_of.NO_TOOLS.search(words) or (TOOLS in places and words_of.UNKNOWN.search(words))
    is_about_tools = bool(lacks_tools) and "schema" not in words.lower() and not words_of.SCHEMA.search(words)
    if status in _FAILURES and not words_of.UNKNOWN.search(words):
        return Refusal(forms, is_about_tools=is_about_tools)  # otherwise the server failed, perhaps only this time
    named = _named_fields(words, places)
    values = [name for name in named if _is_about_value(name, words)]
    now = [name for name in values if name == "reasoning_effort"]
    if "top_p" in named and words_of.GREEDY.search(words):
        now.append("top_p")
    if (
        RESPONSE_FORMAT in named
        and RESPONSE_FORMAT not in values
        and FORMAT_BESIDE_TOOLS not in forms
        and words_of.CONFLICT.search(words)
    ):
        now.append(RESPONSE_FORMAT)
    if any(name in LIMITS for name in values) and words_of.TOO_LARGE.search(words):
        now += LIMITS
    kept = [name for name in named if name not in values and name not in now]
    is_field_unknown = bool(words_of.NO_FIELD.search(words)) and not words_of.FORMAT.search(words)
    stepwise = kept if is_field_unknown else [step for name in kept for step in STEPS.get(name, (name,))]
    pairs = [name for name in forms if name in _PAIRS]
    others = [name for name in forms if name not in _PAIRS]
    return Refusal(
        names=(*pairs, *stepwise, *others),
        now=() if kept and not set(now) - set(LIMITS) else tuple(now),
        values=tuple(values),
        is_about_tools=is_about_tools,
    )


def _named_fields(words: str, places: Sequence[str]) -> list[str]:
    """Returns the optional fields that a refusal names, the likeliest first."""
    located = list(dict.fromkeys(name for place in places for name in _field_at(place)))
    is_elsewhere = any(_first_part(place) in _REQUIRED_FIELDS for place in places)
    is_elsewhere |= "schema for function" in words
    named = located or (_quoted_strict(words) if is_elsewhere else _fields_in(words))
    if {"temperature", "top_p"} <= {name for name, pattern in words_of.NAMES.items() if pattern.search(words)} | set(
        located
    ):
        named = [TOP_P_BESIDE_TEMPERATURE, *named]
    return named


def _quoted_strict(words: str) -> list[str]:
    """Returns the field `strict`, if a text about a part of the request calls it unknown."""
    return [STRICT] if re.search(rf"(?i)unknown name \W*{STRICT}\b", words) else []


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
        yield from (name for name in OPTIONAL_FIELDS if words_of.NAMES[name].fullmatch(part))


def _fields_in(words: str) -> list[str]:
    """Returns the optional fields in a text, in order. A word of plain language counts only beside words of refusal."""
    found = sorted(
        (match.start(), name) for name, pattern in words_of.NAMES.items() if (match := pattern.search(words))
    )
    is_refusal, is_range = words_of.UNSUPPORTED.search(words), words_of.RANGE.search(words)
    named = [name for _, name in found if is_refusal or is_range or "_" in name]
    if RESPONSE_FORMAT not in named and is_refusal and words_of.FORMAT.search(words):
        named.append(RESPONSE_FORMAT)
    return named


def _is_about_value(name: str, words: str) -> bool:
    """Whether the server knows the field and refuses the value that a client gave it."""
    match name:
        case "response_format" | "strict":
            return bool(words_of.SCHEMA.search(words))
        case "reasoning_effort":
            return bool(words_of.ENUMERATION.search(words))
        case "temperature" | "top_p" | "max_tokens" | "max_completion_tokens":
            return bool(words_of.RANGE.search(words)) and not words_of.UNKNOWN.search(words)
        case _:
            return False


# Forms that come before fields, because they leave out less, or because the words are about them.
_PAIRS = (FORMAT_BESIDE_TOOLS, STREAM_BESIDE_TOOLS, STREAM_BESIDE_FORMAT, STREAM)


def _forms(words: str, places: Sequence[str]) -> tuple[str, ...]:
    """Returns the forms of messages that a text may refuse, and whether the answer may be a stream."""
    patterns = {
        NO_SIGNATURE: words_of.SIGNATURE,
        NO_REASONING: words_of.REASONING,
        ROLES_IN_A_ROW: words_of.ALTERNATION,
        SYSTEM_ROLE: words_of.NO_SYSTEM,
        TOOL_ROLE: words_of.NO_TOOL_ROLE,
        SEVERAL_CALLS: words_of.SEVERAL_CALLS,
        FOREIGN_CALL_IDS: words_of.CALL_ID,
        NULL_CONTENT: words_of.NO_NULL,
        EMPTY_CONTENT: words_of.NO_EMPTY,
        IMAGES: words_of.IMAGE,
        CALLS_WITHOUT_TOOLS: words_of.HISTORY_OF_TOOLS,
    }
    forms = [form for form, pattern in patterns.items() if pattern.search(words)]
    forms += [form for form in _role_forms(words) if form not in forms]
    forms += [KEYWORD + word for word in _keywords(words, places)]
    if words_of.FORMAT_WITH_TOOLS.search(words) and words_of.UNSUPPORTED.search(words):
        forms.append(FORMAT_BESIDE_TOOLS)
    if forms[:1] == [ROLES_IN_A_ROW] and SYSTEM_ROLE not in forms:
        forms.append(SYSTEM_ROLE)  # old templates of Mistral's count the system's message too
    if words_of.NO_STREAM.search(words) or STREAM in places:
        if words_of.TOOL.search(words):
            forms.append(STREAM_BESIDE_TOOLS)
        if words_of.NAMES[RESPONSE_FORMAT].search(words) or words_of.FORMAT.search(words):
            forms.append(STREAM_BESIDE_FORMAT)
        forms.append(STREAM)
    return tuple(forms)


def _role_forms(words: str) -> list[str]:
    """Returns the forms without the roles that a list of roles in a text lacks, or that a text may mean."""
    if (found := words_of.ROLE_LIST.search(words)) is not None:
        roles = found["list"].lower()
        return [form for role, form in (("tool", TOOL_ROLE), ("system", SYSTEM_ROLE)) if role not in roles]
    return [TOOL_ROLE, SYSTEM_ROLE] if words_of.OTHER_ROLE.search(words) else []


def _keywords(words: str, places: Sequence[str]) -> list[str]:
    """Returns the keywords of schemas that a refusal calls unknown."""
    found = [match["name"] for match in words_of.SCHEMA_KEYWORD.finditer(words)]
    if words_of.NO_FIELD.search(words):
        found += [place.rsplit(".", 1)[-1] for place in places if re.search(r"\.(?:parameters|schema)\.", place)]
    return [word for word in dict.fromkeys(found) if word in DISPENSABLE]
