"""Other forms of the same messages, for servers that refuse the usual ones. Pure.

Many chat templates demand that messages of the user and of the assistant alternate and that the user begins and ends.
Some know no system role, and some accept only tool call ids that they could have made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from service.model.base import Json
from service.model.kept_fields import REASONING_CONTENT
from service.model.refusal_names import (
    EMPTY_CONTENT,
    FOREIGN_CALL_IDS,
    IMAGE_DETAIL,
    IMAGES,
    NO_REASONING,
    NO_SIGNATURE,
    NULL_CONTENT,
    ROLES_IN_A_ROW,
    SEVERAL_CALLS,
    SYSTEM_ROLE,
    TOOL_ROLE,
)

# Messages that fill a gap in the alternation. Empty messages are refused too.
BEGINNING = "[The conversation begins with a message of the assistant.]"
NO_ANSWER = "[There was no answer.]"
CONTINUATION = "[Please continue.]"
EMPTY = "[empty]"
NO_IMAGE = "[image_url: not shown, this model cannot see images]"
# Gemini's word for calls without the signature of its thoughts, and a text in place of thoughts that were not kept.
SIGNATURE = "skip_thought_signature_validator"
REASONING = "[not kept]"
CALL_ID_LENGTH = 9  # Mistral's ids: nine letters and digits
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORT_ID = re.compile(rf"[a-zA-Z0-9]{{{CALL_ID_LENGTH}}}")


def adapt_messages(messages: Sequence[Json], refused: Collection[str]) -> list[Json]:
    """Returns the messages in the form that a server accepts which has refused these names."""
    adapted = list(messages)
    if TOOL_ROLE in refused:
        adapted = flatten_calls(adapted)
    if SEVERAL_CALLS in refused:
        adapted = _divide_calls(adapted)
    if SYSTEM_ROLE in refused:
        adapted = _without_system(adapted)
    if ROLES_IN_A_ROW in refused:
        adapted = _alternate(adapted)
    if FOREIGN_CALL_IDS in refused:
        adapted = [_with_short_ids(message) for message in adapted]
    if NULL_CONTENT in refused:
        adapted = [{**one, "content": ""} if one.get("content", "") is None else one for one in adapted]
    if EMPTY_CONTENT in refused:
        adapted = [_without_empty_content(message) for message in adapted]
    if IMAGE_DETAIL in refused:
        adapted = [_without_detail(message) for message in adapted]
    if IMAGES in refused:
        adapted = [_without_images(message) for message in adapted]
    if NO_SIGNATURE in refused:
        adapted = [_with_signature(message) for message in adapted]
    if NO_REASONING in refused:
        adapted = [{REASONING_CONTENT: REASONING, **one} if one["role"] == "assistant" else one for one in adapted]
    return adapted


def without_reasoning(messages: Sequence[Json]) -> list[Json]:
    """Returns the messages without the reasoning before tool calls, which is only for servers that demand it."""
    return [
        {name: value for name, value in one.items() if name != REASONING_CONTENT} if REASONING_CONTENT in one else one
        for one in messages
    ]


def other_forms(messages: Sequence[Json]) -> list[str]:
    """Returns the names of refusals that would change these messages."""
    names = (
        ROLES_IN_A_ROW,
        SYSTEM_ROLE,
        TOOL_ROLE,
        SEVERAL_CALLS,
        FOREIGN_CALL_IDS,
        NULL_CONTENT,
        EMPTY_CONTENT,
        IMAGE_DETAIL,
        IMAGES,
        NO_SIGNATURE,
        NO_REASONING,
    )
    return [name for name in names if adapt_messages(messages, {name}) != list(messages)]


def with_instruction(messages: Sequence[Json], text: str) -> list[Json]:
    """Returns the messages with a text of the system at the beginning, joined to the one that is there."""
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _without_system(messages: Sequence[Json]) -> list[Json]:
    """Returns the messages with the texts of the system as texts of the user, joined to the user's next message."""
    return _merge([{**message, "role": "user"} if message["role"] == "system" else message for message in messages])


def _alternate(messages: Sequence[Json]) -> list[Json]:
    """Returns the messages with a user's and an assistant's message in turn, after the system's messages."""
    leading = 0
    while leading < len(messages) and messages[leading]["role"] == "system":
        leading += 1
    head = _merge(messages[:leading])
    rest = [{**one, "role": "user"} if one["role"] == "system" else one for one in messages[leading:]]
    found: list[Json] = []
    for message in _merge(rest):
        before = found[-1]["role"] if found else None
        if before is None and message["role"] == "assistant":
            found.append({"role": "user", "content": BEGINNING})
        elif before == "tool" and message["role"] == "user":
            found.append({"role": "assistant", "content": NO_ANSWER})
        elif before == "assistant" and message["role"] == "assistant":
            found.append({"role": "user", "content": CONTINUATION})
        found.append(message)
    if not found or found[-1]["role"] == "assistant":
        found.append({"role": "user", "content": CONTINUATION})
    return [*head, *found]


def _merge(messages: Sequence[Json]) -> list[Json]:
    """Returns the messages with neighbours of one role as one message. Messages of tools stay apart.

    An assistant's calls stay behind its text, so nothing is joined to a message with calls.
    """
    merged: list[Json] = []
    for message in messages:
        last = merged[-1] if merged else None
        joins = last is not None and last["role"] == message["role"] != "tool" and not last.get("tool_calls")
        if last is not None and joins:
            merged[-1] = {**last, **message, "content": _join(last.get("content"), message.get("content"))}
        else:
            merged.append(message)
    return merged


def _join(first: Any, second: Any) -> Any:
    """Returns two contents as one: a text, or a list of parts if one of them is such a list."""
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _with_short_ids(message: Json) -> Json:
    if message["role"] == "tool":
        return {**message, "tool_call_id": _short_id(message["tool_call_id"])}
    if not message.get("tool_calls"):
        return message
    return {**message, "tool_calls": [{**call, "id": _short_id(call["id"])} for call in message["tool_calls"]]}


def _short_id(call_id: str) -> str:
    """Returns the id if it has nine letters and digits, otherwise such an id that follows from it."""
    if _SHORT_ID.fullmatch(call_id):
        return call_id
    digest = hashlib.sha256(call_id.encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:CALL_ID_LENGTH])


def _without_detail(message: Json) -> Json:
    if not isinstance(message.get("content"), list):
        return message
    parts = [
        {**part, "image_url": {"url": part["image_url"]["url"]}} if part["type"] == "image_url" else part
        for part in message["content"]
    ]
    return {**message, "content": parts}


def _without_images(message: Json) -> Json:
    """Returns the message with words in place of images, and a text as its content."""
    if not isinstance(message.get("content"), list):
        return message
    texts = [part["text"] if part["type"] == "text" else NO_IMAGE for part in message["content"]]
    return {**message, "content": "\n".join(texts)}


def _with_signature(message: Json) -> Json:
    """Returns the message with a signature in its first call, as Gemini gives one to the first of parallel calls.

    Messages whose calls have the signatures that the server gave them stay as they are.
    """
    if not message.get("tool_calls") or any("extra_content" in call for call in message["tool_calls"]):
        return message
    first, *others = message["tool_calls"]
    signed = {**first, "extra_content": {"google": {"thought_signature": SIGNATURE}}}
    return {**message, "tool_calls": [signed, *others]}


def _divide_calls(messages: Sequence[Json]) -> list[Json]:
    """Returns the messages with one call in a message, each before its output. The text stays with the first call.

    Templates of Llama accept one call at once.
    """
    divided: list[Json] = []
    outputs = {message["tool_call_id"]: message for message in messages if message["role"] == "tool"}
    shown: set[str] = set()
    for message in messages:
        calls = message.get("tool_calls") or ()
        if message["role"] == "tool" and message["tool_call_id"] in shown:
            continue
        if len(calls) < 2:
            divided.append(message)
            continue
        for number, call in enumerate(calls):
            divided.append(
                {**message, "content": message.get("content") if number == 0 else None, "tool_calls": [call]}
            )
            if call["id"] in outputs:
                divided.append(outputs[call["id"]])
                shown.add(call["id"])
    return divided


def _without_empty_content(message: Json) -> Json:
    """Returns the message with a word in place of an empty text. Beside calls, the content is left out."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [{**part, "text": part["text"] or EMPTY} if part["type"] == "text" else part for part in content]
        return {**message, "content": parts}
    if content is None or content.strip():
        return message
    if message.get("tool_calls"):
        return {name: value for name, value in message.items() if name != "content"}
    return {**message, "content": EMPTY}


def flatten_calls(messages: Sequence[Json]) -> list[Json]:
    """Returns the history with calls and outputs as text. Outputs become user messages, because chat templates of such
    models have no other role for them."""
    flat: list[Json] = []
    names: dict[str, str] = {}
    outputs: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            name = names.get(message["tool_call_id"], "tool")
            outputs.append(f"Output of {name}:\n{message['content']}")
            continue
        if outputs:
            flat.append({"role": "user", "content": "\n\n".join(outputs)})
            outputs = []
        calls = message.get("tool_calls")
        if not calls:
            flat.append(message)
            continue
        names |= {call["id"]: call["function"]["name"] for call in calls}
        calls_json = orjson.dumps({"calls": [_call_object(call["function"]) for call in calls]}).decode()
        content = message.get("content")
        flat.append({"role": "assistant", "content": f"{content}\n{calls_json}" if content else calls_json})
    if outputs:
        flat.append({"role": "user", "content": "\n\n".join(outputs)})
    return flat


def _call_object(function: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a call as the model wrote it; arguments that are not valid JSON stay a string."""
    try:
        return {"name": function["name"], "arguments": orjson.loads(function["arguments"] or "{}")}
    except orjson.JSONDecodeError:
        return {"name": function["name"], "arguments": function["arguments"]}
