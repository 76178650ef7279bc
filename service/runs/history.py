"""Reads a thread's history for a prompt, at most as much of it as the model's window can hold.

Entries are in the order of the conversation, which differs from the order of the log: a message that a client adds
while a run is working comes after the run's answer, and is read by later runs only. So a run's prompt is the same
whenever it is built.
"""

from __future__ import annotations

from events.objects import Message, Run, Step
from projections import messages, steps
from projections.rows import PromptPosition
from service.database import Pool
from service.runs.prompt import IMAGE_TOKENS, PER_MESSAGE, Entry
from service.tools.base import MAX_SEEN
from sql.connection import Connection

PAGE = 200
# Pages of steps are small, because steps hold outputs, which may be long.
STEPS_PAGE = 20
MAX_STEPS = 1000
# An upper bound of the characters in one token. Older text is not read once the text exceeds the window by this factor.
CHARACTERS_PER_TOKEN = 8
_BEGINNING: PromptPosition = (0, 0)


async def load_history(pool: Pool, run: Run, window: int) -> list[Entry]:
    """Returns the newest messages and tool_calls steps that the run may read, and the first message of the thread.

    The entries are numbered in order. `window` is the model's context window in tokens.
    """
    newest = (
        run.truncation_strategy.get("last_messages") if run.truncation_strategy["type"] == "last_messages" else None
    )
    first: tuple[PromptPosition, Message] | None = None
    async with pool.acquire() as db:
        found: list[tuple[PromptPosition, Message | Step]] = []
        characters, others = 0, 0
        position: PromptPosition | None = None
        while newest is None or others < newest:
            # The run's own messages do not count, or they would displace the question that the run answers.
            wanted = PAGE if newest is None else min(PAGE, newest - others)
            page = await messages.newest_messages(db, run.thread_id, run.id, position, wanted)
            found += page
            others += sum(message.run_id != run.id for _, message in page)
            characters += sum(_message_length(message) for _, message in page)
            if len(page) < wanted:
                break
            position = page[-1][0]
            if characters > window * CHARACTERS_PER_TOKEN:
                first = await messages.first_message(db, run.thread_id)
                break
        oldest = min((position for position, _ in found), default=_BEGINNING)
        since = oldest if newest is not None or position is not None else _BEGINNING
        found += await _steps(db, run, since, window * CHARACTERS_PER_TOKEN)
    if first is not None and first[1].id not in {entry.id for _, entry in found}:
        found.append(first)
    found.sort(key=lambda pair: pair[0])
    return list(enumerate((entry for _, entry in found), start=1))


async def _steps(db: Connection, run: Run, since: PromptPosition, characters: int) -> list[tuple[PromptPosition, Step]]:
    """Returns the newest tool_calls steps from `since` on: all of the run, and others up to so many characters."""
    found: list[tuple[PromptPosition, Step]] = []
    before: int | None = None
    while len(found) < MAX_STEPS:
        page, before = await steps.tool_call_steps(db, run.thread_id, since, before, STEPS_PAGE)
        for position, step in page:
            if characters <= 0 and step.run_id != run.id:
                return found
            found.append((position, step))
            characters -= _step_length(step)
        if before is None:
            break
    return found


def _step_length(step: Step) -> int:
    """Returns the characters that a step's calls and outputs take in a prompt."""
    arguments = sum(len(call["function"]["arguments"]) for call in step.tool_calls)
    outputs = sum(len(output) for output in step.outputs.values())
    results = sum(min(MAX_SEEN, len(result.get("output", ""))) for result in step.results.values())
    return PER_MESSAGE + arguments + outputs + results


def _message_length(message: Message) -> int:
    """Returns the characters that a message takes in a prompt; an image counts as the text of its tokens."""
    image = IMAGE_TOKENS * CHARACTERS_PER_TOKEN
    parts = (len(part["text"]["value"]) if part["type"] == "text" else image for part in message.content)
    return PER_MESSAGE + sum(parts)
