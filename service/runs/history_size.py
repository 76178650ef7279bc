"""The size of the entries of a history: in characters, as a bound of their tokens, and in memory."""

from __future__ import annotations

import orjson

from events.objects import Message, Step
from service.runs.prompt import IMAGE_TOKENS, PER_MESSAGE
from service.tools.base import MAX_SEEN

# An upper bound of the characters in one token. Older text is not read once the text exceeds the window by this factor.
CHARACTERS_PER_TOKEN = 8
# Estimate of the memory of an entry without its texts.
_ENTRY_BYTES = 1_300


def entry_length(entry: Message | Step) -> int:
    """Returns the characters that an entry takes in a prompt."""
    return message_length(entry) if isinstance(entry, Message) else step_length(entry)


def entry_bytes(entry: Message | Step) -> int:
    """Returns an estimate of the memory of an entry: its objects, and its JSON twice, as texts and as their objects."""
    parts = (
        (entry.content, entry.attachments)
        if isinstance(entry, Message)
        else (entry.tool_calls, entry.outputs, entry.results)
    )
    return _ENTRY_BYTES + 2 * sum(len(orjson.dumps(part)) for part in parts)


def step_length(step: Step) -> int:
    """Returns the characters that a step's calls and outputs take in a prompt."""
    arguments = sum(len(call["function"]["arguments"]) for call in step.tool_calls)
    outputs = sum(len(output) for output in step.outputs.values())
    results = sum(min(MAX_SEEN, len(result.get("output", ""))) for result in step.results.values())
    return PER_MESSAGE + arguments + outputs + results


def message_length(message: Message) -> int:
    """Returns the characters that a message takes in a prompt; an image counts as the text of its tokens."""
    image = IMAGE_TOKENS * CHARACTERS_PER_TOKEN
    parts = (len(part["text"]["value"]) if part["type"] == "text" else image for part in message.content)
    return PER_MESSAGE + sum(parts)
