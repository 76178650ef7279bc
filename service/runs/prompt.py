"""The prompt of a model call: a pure function of a run's settings and the thread's history.

The history is a list of units in thread order: a message, or a tool_calls step with its outputs. Truncation drops whole
units, so that a tool call is never parted from its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from events.objects import Message, Run, Step
from service.tools.base import MAX_SEEN

ChatMessage = dict[str, Any]
Unit = list[ChatMessage]
Entry = tuple[int, Message | Step]

# Tokens that chat formats put around each message, and what one image is taken for where nothing is known of it.
PER_MESSAGE = 4
IMAGE_TOKENS = 765
# Tokens left free for the answer where the run sets no limit, unless that is over a quarter of the window.
ANSWER_ROOM = 4096
# Characters of one hosted call's output in a prompt: as many as the window has tokens, about a quarter of it.
MIN_OUTPUT = 2_000


def system(run: Run, briefs: Sequence[str] = ()) -> Unit:
    """The instructions, and what hosted tools say besides, as the prompt's first message; empty for nothing."""
    said = [text for text in (run.instructions, *briefs) if text]
    return [{"role": "system", "content": "\n\n".join(said)}] if said else []


def output_room(window: int) -> int:
    """Characters of one hosted call's output that a model with this window (in tokens) is shown."""
    return min(MAX_SEEN, max(MIN_OUTPUT, window))


def output_rooms(window: int) -> list[int]:
    """The same, and smaller ones where that does not fit: many calls in one step, or a token a character."""
    return [output_room(window) // 4**tries for tries in range(4)]


def cut(text: str, room: int) -> str:
    """`text`, or `room` characters of its beginning and its end, with a note of what was cut between them."""
    if len(text) <= room:
        return text
    head, tail = room - room // 2, room // 2
    return (
        f"{text[:head]}\n[… {len(text) - room} characters of this output were cut here …]\n{text[len(text) - tail :]}"
    )


def units(entries: Sequence[Entry], *, vision: bool, room: int = MAX_SEEN) -> list[Unit]:
    """The history as chat messages, in order; outputs of hosted calls within `room` characters each.

    Left out: what a broken model call left incomplete, and steps whose outputs never came. What a cancelled or an
    expired run had said stays: clients saw it end there.
    """
    found: list[Unit] = []
    for _, entry in sorted(entries, key=lambda pair: pair[0]):
        if isinstance(entry, Message):
            if entry.incomplete_reason != "run_failed":
                found.append([_message(entry, vision)])
        elif entry.status == "completed" and (outputs := _outputs(entry, room)) is not None:
            _add_step(found, entry, outputs)
    return found


def budget(window: int, run: Run, spent_prompt: int, spent_completion: int) -> int:
    """Tokens that the next prompt may have: the model's window less the answer's room, and the run's own limit."""
    room = min(ANSWER_ROOM, window // 4)
    if run.max_completion_tokens is not None:
        room = min(window // 2, max(1, run.max_completion_tokens - spent_completion))
    allowed = window - room
    if run.max_prompt_tokens is not None:
        allowed = min(allowed, run.max_prompt_tokens - spent_prompt)
    return allowed


def surely_fits(history: Sequence[Unit], head: Unit, tools: str, allowed: int, at_most: Callable[[str], int]) -> bool:
    """Whether it fits by a crude bound (`at_most`, from above): saves loading a tokenizer."""
    total = at_most(tools) + measure(head, at_most)
    for unit in history:
        total += measure(unit, at_most)
        if total > allowed:
            return False
    return total <= allowed


def truncate(
    history: Sequence[Unit], head: Unit, tools: str, allowed: int, count: Callable[[str], int]
) -> list[Unit] | None:
    """The units that fit: the first and the newest ones; those in the middle go first (docs/behaviour.md, "Semantics").

    None where not even the newest unit fits.
    """
    left = allowed - measure(head, count) - (count(tools) if tools else 0)
    if not history:
        return [] if left >= 0 else None
    left -= measure(history[-1], count)
    if left < 0:
        return None
    first = measure(history[0], count) if len(history) > 1 else 0
    keeps_first = len(history) > 1 and first <= left
    left -= first if keeps_first else 0
    kept: list[Unit] = [history[-1]]
    for unit in reversed(history[1:-1]):
        left -= measure(unit, count)
        if left < 0:
            break
        kept.append(unit)
    return [*([history[0]] if keeps_first else []), *reversed(kept)]


def measure(unit: Unit, count: Callable[[str], int]) -> int:
    """Tokens of a unit, as `count` counts text."""
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


def hosted_names(tools: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The function name of each hosted tool, by its type: the same word, unless a function of the user's has it."""
    asked = list(tools)
    taken = {tool["function"]["name"] for tool in asked if tool["type"] == "function"}
    names: dict[str, str] = {}
    for kind in dict.fromkeys(tool["type"] for tool in asked if tool["type"] != "function"):
        tries = (kind, *(f"{kind}_{number}" for number in range(2, len(taken) + 3)))
        names[kind] = next(name for name in tries if name not in taken)
        taken.add(names[kind])
    return names


def chat_tools(run: Run, hosted: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The run's tools in the shape of chat completions; `strict` only where asked, for upstreams without it.

    `hosted` are the functions ({description, parameters}) that hosted tools are to the model, by type.
    """
    tools, names = [], hosted_names(run.tools)
    for tool in run.tools:
        if tool["type"] == "function":
            function = {key: value for key, value in tool["function"].items() if key != "strict" or value}
            tools.append({"type": "function", "function": function})
        elif (name := names.pop(tool["type"], None)) is not None:
            tools.append({"type": "function", "function": {"name": name, **hosted[tool["type"]]}})
    return tools


def tool_choice(run: Run, call: int) -> str | dict[str, Any] | None:
    """The run's choice for model call number `call`: a forced one holds for the first only, else it never ends."""
    if not run.tools:
        return None
    if run.tool_choice in ("auto", "none"):
        return run.tool_choice
    if call > 1:
        return "auto"
    if isinstance(run.tool_choice, dict) and run.tool_choice["type"] != "function":
        return {"type": "function", "function": {"name": hosted_names(run.tools)[run.tool_choice["type"]]}}
    return run.tool_choice


def response_format(run: Run) -> dict[str, Any] | None:
    return run.response_format if isinstance(run.response_format, dict) else None


def _message(message: Message, vision: bool) -> ChatMessage:
    # An assistant's images can only be told of: chat formats let it send none.
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
        case kind:
            # A model that cannot see is told so, rather than left to answer as if nothing were there.
            return {"type": "text", "text": f"[{kind}: not shown, this model cannot see images]"}


def _outputs(step: Step, room: int) -> dict[str, str] | None:
    """What the model is told of each call of a step, by id; None where something never came."""
    outputs = dict(step.outputs)
    for id, result in step.results.items():
        if "output" in result:
            outputs[id] = cut(result["output"], room)
    return outputs if all(call["id"] in outputs for call in step.tool_calls) else None


def _add_step(found: list[Unit], step: Step, told: Mapping[str, str]) -> None:
    """A step's calls and outputs. Calls that came with text belong to the assistant message just before."""
    calls = [{"id": call["id"], "type": "function", "function": dict(call["function"])} for call in step.tool_calls]
    outputs = [{"role": "tool", "tool_call_id": call["id"], "content": told[call["id"]]} for call in step.tool_calls]
    last = found[-1] if found else []
    if len(last) == 1 and last[0]["role"] == "assistant":
        found[-1] = [{**last[0], "tool_calls": calls}, *outputs]
    else:
        found.append([{"role": "assistant", "content": None, "tool_calls": calls}, *outputs])
