"""Builds the prompt of a model call from a run's settings and the thread's history. Pure.

The history is a list of units in the order of the conversation. A unit is a message, or a tool_calls step with its
outputs. Truncation drops whole units, so that a tool call is never separated from its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from events.objects import Message, Run, Step
from service.model.kept_fields import REASONING_CONTENT
from service.runs.call_arguments import object_text
from service.tools.base import MAX_SEEN

ChatMessage = dict[str, Any]
Unit = list[ChatMessage]
Entry = tuple[int, Message | Step]

# Tokens that chat formats add to each message, and an estimate of the tokens of an image.
PER_MESSAGE = 4
IMAGE_TOKENS = 765
# Tokens that are reserved for the answer if the run sets no limit, but at most a quarter of the window.
ANSWER_ROOM = 4096
# Minimum of the characters that a prompt holds of one hosted call's output (see `output_room`).
MIN_OUTPUT = 2_000
# The prompt of a run with neither messages nor instructions, which v1 accepts, because model servers refuse an empty
# list of messages.
EMPTY_PROMPT: Unit = [{"role": "system", "content": "You are a helpful assistant."}]


def system_message(run: Run, briefs: Sequence[str] = ()) -> Unit:
    """Returns the first message of the prompt, with the instructions and the briefs of hosted tools, or no message."""
    texts = [text for text in (run.instructions, *briefs) if text]
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []


def output_room(window: int) -> int:
    """Returns the characters that a prompt holds of one hosted call's output: as many as the window has tokens.

    That is about a quarter of the window.
    """
    return min(MAX_SEEN, max(MIN_OUTPUT, window))


def output_rooms(window: int) -> list[int]:
    """Returns the room of an output, and smaller ones to try if that does not fit, as with many calls in one step."""
    return [output_room(window) // 4**tries for tries in range(4)]


def shorten(text: str, room: int) -> str:
    """Returns the text, or `room` characters of its beginning and end with a note between them."""
    if len(text) <= room:
        return text
    head, tail = room - room // 2, room // 2
    return (
        f"{text[:head]}\n[… {len(text) - room} characters of this output were cut here …]\n{text[len(text) - tail :]}"
    )


def history_units(
    entries: Sequence[Entry], *, vision: bool, room: int = MAX_SEEN, run_id: str | None = None
) -> list[Unit]:
    """Returns the history as chat messages in order, as the run `run_id` sends it. Each output of a hosted call has at
    most `room` characters.
    """
    return [render_unit(group, vision=vision, room=room, run_id=run_id) for group in group_entries(entries)]


def group_entries(entries: Sequence[Entry]) -> list[list[Message | Step]]:
    """Returns the entries of each unit of the history in order: a message, a step, or an assistant's message and the
    step just after it.

    Messages of failed model calls are left out, and so are steps without outputs. Messages of cancelled and expired
    runs stay, because clients saw them end.
    """
    found: list[list[Message | Step]] = []
    for _, entry in sorted(entries, key=lambda pair: pair[0]):
        if isinstance(entry, Message):
            if entry.incomplete_reason != "run_failed":
                found.append([entry])
        elif entry.status == "completed" and _has_outputs(entry):
            last = found[-1] if found else []
            if len(last) == 1 and isinstance(last[0], Message) and last[0].role == "assistant":
                last.append(entry)
            else:
                found.append([entry])
    return found


def render_unit(group: Sequence[Message | Step], *, vision: bool, room: int, run_id: str | None) -> Unit:
    """Returns the chat messages of a unit. A step that follows a message becomes a part of it.

    A call has the id that its model server gave it, because some servers accept no other. Calls of the run `run_id`
    have all fields that the server may want back. Earlier runs may have used another server, so that their calls have
    only the reasoning, which no server gets that does not demand it.
    """
    unit: Unit = []
    for entry in group:
        if isinstance(entry, Message):
            unit.append(_message(entry, vision))
            continue
        outputs = _outputs(entry, room)
        ids = [call.get("upstream_id", call["id"]) for call in entry.tool_calls]
        numbered = list(zip(ids, entry.tool_calls, strict=True))
        calls = [{"id": id, "type": "function", "function": _function(call)} for id, call in numbered]
        fields = entry.tool_calls[0].get("message_fields", {}) if entry.tool_calls else {}
        if entry.run_id == run_id:
            calls = [
                {**call, **stored.get("upstream_fields", {})} for call, (_, stored) in zip(calls, numbered, strict=True)
            ]
        else:
            fields = {name: value for name, value in fields.items() if name == REASONING_CONTENT}
        first = unit[0] if unit else {"role": "assistant", "content": None}
        results = [{"role": "tool", "tool_call_id": id, "content": outputs[call["id"]]} for id, call in numbered]
        unit = [{**first, **fields, "tool_calls": calls}, *results]
    return unit


def prompt_budget(window: int, run: Run, spent_prompt: int, spent_completion: int) -> int:
    """Returns the tokens that the next prompt may have: the window less the answer's room, within the run's limit."""
    room = min(ANSWER_ROOM, window // 4)
    if run.max_completion_tokens is not None:
        room = min(window // 2, max(1, run.max_completion_tokens - spent_completion))
    allowed = window - room
    if run.max_prompt_tokens is not None:
        allowed = min(allowed, run.max_prompt_tokens - spent_prompt)
    return allowed


def surely_fits(history: Sequence[Unit], head: Unit, tools: str, allowed: int, at_most: Callable[[str], int]) -> bool:
    """Whether the prompt fits by an upper bound of its tokens (`at_most`), which needs no tokenizer."""
    total = at_most(tools) + count_unit_tokens(head, at_most)
    for unit in history:
        total += count_unit_tokens(unit, at_most)
        if total > allowed:
            return False
    return total <= allowed


def truncate(
    history: Sequence[Unit], head: Unit, tools: str, allowed: int, count: Callable[[str], int]
) -> list[Unit] | None:
    """Returns the units that fit: the first one and the newest ones (docs/behaviour.md, "Semantics").

    Returns None if not even the newest unit fits.
    """
    left = allowed - count_unit_tokens(head, count) - (count(tools) if tools else 0)
    if not history:
        return [] if left >= 0 else None
    left -= count_unit_tokens(history[-1], count)
    if left < 0:
        return None
    first = count_unit_tokens(history[0], count) if len(history) > 1 else 0
    keeps_first = len(history) > 1 and first <= left
    left -= first if keeps_first else 0
    kept: list[Unit] = [history[-1]]
    for unit in reversed(history[1:-1]):
        left -= count_unit_tokens(unit, count)
        if left < 0:
            break
        kept.append(unit)
    return [*([history[0]] if keeps_first else []), *reversed(kept)]


def count_unit_tokens(unit: Unit, count: Callable[[str], int]) -> int:
    """Returns the tokens of a unit. `count` counts those of a text."""
    total = 0
    for message in unit:
        total += PER_MESSAGE
        content = message.get("content")
        if isinstance(content, str):
            total += count(content)
        else:
            total += sum(count(part["text"]) if part["type"] == "text" else IMAGE_TOKENS for part in content or ())
        for call in message.get("tool_calls", ()):
            total += PER_MESSAGE + count(call["function"]["name"]) + count(call["function"]["arguments"])
    return total


def hosted_function_names(tools: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the function name of each hosted tool: its type, with a number if the user has a function of the name."""
    asked = list(tools)
    taken = {tool["function"]["name"] for tool in asked if tool["type"] == "function"}
    names: dict[str, str] = {}
    for type in dict.fromkeys(tool["type"] for tool in asked if tool["type"] != "function"):
        tries = (type, *(f"{type}_{number}" for number in range(2, len(taken) + 3)))
        names[type] = next(name for name in tries if name not in taken)
        taken.add(names[type])
    return names


def chat_tools(run: Run, hosted: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the run's tools in the shape of chat completions. `strict` is left out if it is false, for old upstreams.

    `hosted` are the functions {description, parameters} of hosted tools, by type.
    """
    tools, names = [], hosted_function_names(run.tools)
    for tool in run.tools:
        if tool["type"] == "function":
            function = {key: value for key, value in tool["function"].items() if key != "strict" or value}
            tools.append({"type": "function", "function": function})
        elif (name := names.pop(tool["type"], None)) is not None:
            tools.append({"type": "function", "function": {"name": name, **hosted[tool["type"]]}})
    return tools


def tool_choice(run: Run, call: int) -> str | dict[str, Any] | None:
    """Returns the tool choice for model call number `call`. A forced choice holds for the first call only.

    Otherwise the run would never end.
    """
    if not run.tools:
        return None
    if run.tool_choice in ("auto", "none"):
        return run.tool_choice
    if call > 1:
        return "auto"
    if isinstance(run.tool_choice, dict) and run.tool_choice["type"] != "function":
        return {"type": "function", "function": {"name": hosted_function_names(run.tools)[run.tool_choice["type"]]}}
    return run.tool_choice


def response_format(run: Run) -> dict[str, Any] | None:
    """Returns the run's format. Chat completions have no "auto", which is the API's word for no format."""
    return run.response_format if isinstance(run.response_format, dict) else None


def _message(message: Message, vision: bool) -> ChatMessage:
    # Chat formats have no images in messages of assistants, so the prompt only mentions them.
    shown = [part for part in message.content if message.role == "user" or not part["type"].startswith("image_")]
    images = len(message.content) - len(shown)
    parts = [_part(part, vision) for part in shown]
    if images:
        parts.insert(0, {"type": "text", "text": f"[{images} images, shown to the user]"})
    if all(part["type"] == "text" for part in parts):
        return {"role": message.role, "content": "\n".join(part["text"] for part in parts)}
    return {"role": message.role, "content": parts}


def _part(part: dict[str, Any], vision: bool) -> dict[str, Any]:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]["value"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "image_url" if vision:
            return {"type": "image_url", "image_url": part["image_url"]}
        case type:
            # The text keeps a model that cannot see from answering as if there were no image.
            return {"type": "text", "text": f"[{type}: not shown, this model cannot see images]"}


def _has_outputs(step: Step) -> bool:
    """Whether each call of a step has an output."""
    return all(call["id"] in step.outputs or "output" in step.results.get(call["id"], ()) for call in step.tool_calls)


def _outputs(step: Step, room: int) -> dict[str, str]:
    """Returns the output of each call of a step by id."""
    outputs = dict(step.outputs)
    for id, result in step.results.items():
        if "output" in result:
            outputs[id] = shorten(result["output"], room)
    return outputs


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the function of a call. Its arguments are a JSON object, because chat templates parse them."""
    arguments = call["function"]["arguments"]
    if call["type"] == "code_interpreter" and not arguments.lstrip().startswith("{"):
        arguments = orjson.dumps({"code": arguments}).decode()  # the model wrote code instead of JSON
    return {**call["function"], "arguments": object_text(arguments)}
