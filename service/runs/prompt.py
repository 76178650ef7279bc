"""The prompt of a model call: a pure function of a run's settings and the thread's history.

The history is a list of units in thread order: a message, or a tool_calls step with its outputs. Truncation drops whole
units, so that a tool call is never parted from its output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from events.objects import Message, Run, Step

ChatMessage = dict[str, Any]
Unit = list[ChatMessage]
Entry = tuple[int, Message | Step]

# Tokens that chat formats put around each message, and what one image is taken for where nothing is known of it.
PER_MESSAGE = 4
IMAGE_TOKENS = 765
# Tokens left free for the answer where the run sets no limit, unless that is over a quarter of the window.
ANSWER_ROOM = 4096


def system(run: Run) -> Unit:
    """The instructions, as the prompt's first message; empty where there are none."""
    return [{"role": "system", "content": run.instructions}] if run.instructions else []


def units(entries: Sequence[Entry], *, vision: bool) -> list[Unit]:
    """The history as chat messages, in order.

    Left out: what a broken model call left incomplete, and steps whose outputs never came. What a cancelled or an
    expired run had said stays: clients saw it end there.
    """
    found: list[Unit] = []
    for _, entry in sorted(entries, key=lambda pair: pair[0]):
        if isinstance(entry, Message):
            if entry.incomplete_reason != "run_failed":
                found.append([_message(entry, vision)])
        elif entry.status == "completed" and all(call["id"] in entry.outputs for call in entry.tool_calls):
            _add_step(found, entry)
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
    """The units that fit: the first and the newest ones; those in the middle go first (BEHAVIOUR.md, "Semantics").

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


def chat_tools(run: Run) -> list[dict[str, Any]]:
    """The run's functions in the shape of chat completions; `strict` only where asked, for upstreams without it."""
    tools = []
    for tool in run.tools:
        if tool["type"] == "function":
            function = {key: value for key, value in tool["function"].items() if key != "strict" or value}
            tools.append({"type": "function", "function": function})
    return tools


def tool_choice(run: Run, call: int) -> str | dict[str, Any] | None:
    """The run's choice for model call number `call`: a forced one holds for the first only, else it never ends."""
    if not run.tools:
        return None
    if run.tool_choice in ("auto", "none"):
        return run.tool_choice
    return run.tool_choice if call == 1 else "auto"


def response_format(run: Run) -> dict[str, Any] | None:
    return run.response_format if isinstance(run.response_format, dict) else None


def _message(message: Message, vision: bool) -> ChatMessage:
    parts = [_part(part, vision) for part in message.content]
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


def _add_step(found: list[Unit], step: Step) -> None:
    """A step's calls and outputs. Calls that came with text belong to the assistant message just before."""
    calls = [{"id": call["id"], "type": "function", "function": dict(call["function"])} for call in step.tool_calls]
    outputs = [
        {"role": "tool", "tool_call_id": call["id"], "content": step.outputs[call["id"]]} for call in step.tool_calls
    ]
    last = found[-1] if found else []
    if len(last) == 1 and last[0]["role"] == "assistant":
        found[-1] = [{**last[0], "tool_calls": calls}, *outputs]
    else:
        found.append([{"role": "assistant", "content": None, "tool_calls": calls}, *outputs])
