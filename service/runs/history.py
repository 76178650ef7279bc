"""Reads a thread's history for a prompt: no more of it than a model's window could hold.

The order is that of a conversation, not of the stream: a message that a client wrote while a run worked comes behind
what the run answered, and is for the runs created later. So a run's prompt is the same however often it is made.
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
# Steps come with their outputs, which may be long: few at a time.
STEPS_PAGE = 20
MAX_STEPS = 1000
# Characters of text that no window of `window` tokens can exceed by more than this factor; older text is not read.
CHARACTERS_PER_TOKEN = 8
_BEGINNING: PromptPosition = (0, 0)


async def load(pool: Pool, run: Run, window: int) -> list[Entry]:
    """The newest messages and tool_calls steps that the run may read, and the thread's very first message.

    Numbered in their order. Window in tokens.
    """
    newest = (
        run.truncation_strategy.get("last_messages") if run.truncation_strategy["type"] == "last_messages" else None
    )
    first: tuple[PromptPosition, Message] | None = None
    async with pool.acquire() as db:
        found: list[tuple[PromptPosition, Message | Step]] = []
        characters, others = 0, 0
        place: PromptPosition | None = None
        while newest is None or others < newest:
            # What the run itself has said comes on top, or it would push out the question that it answers.
            wanted = PAGE if newest is None else min(PAGE, newest - others)
            page = await messages.newest_messages(db, run.thread_id, run.id, place, wanted)
            found += page
            others += sum(message.run_id != run.id for _, message in page)
            characters += sum(_length(message) for _, message in page)
            if len(page) < wanted:
                break
            place = page[-1][0]
            if characters > window * CHARACTERS_PER_TOKEN:
                first = await messages.first_message(db, run.thread_id)
                break
        oldest = min((place for place, _ in found), default=_BEGINNING)
        since = oldest if newest is not None or place is not None else _BEGINNING
        found += await _steps(db, run, since, window * CHARACTERS_PER_TOKEN)
    if first is not None and first[1].id not in {entry.id for _, entry in found}:
        found.append(first)
    found.sort(key=lambda placed: placed[0])
    return list(enumerate((entry for _, entry in found), start=1))


async def _steps(db: Connection, run: Run, since: PromptPosition, characters: int) -> list[tuple[PromptPosition, Step]]:
    """The newest tool_calls steps at or behind `since`: the run's own, and others while they could fit."""
    found: list[tuple[PromptPosition, Step]] = []
    before: int | None = None
    while len(found) < MAX_STEPS:
        page, before = await steps.tool_call_steps(db, run.thread_id, since, before, STEPS_PAGE)
        for place, step in page:
            if characters <= 0 and step.run_id != run.id:
                return found
            found.append((place, step))
            characters -= _told(step)
        if before is None:
            break
    return found


def _told(step: Step) -> int:
    """Characters of a step's calls and outputs, as a prompt has them."""
    asked = sum(len(call["function"]["arguments"]) for call in step.tool_calls)
    told = sum(len(output) for output in step.outputs.values())
    return PER_MESSAGE + asked + told + sum(min(MAX_SEEN, len(one.get("output", ""))) for one in step.results.values())


def _length(message: Message) -> int:
    """Characters of text, or what other parts count for as if they were text; no message is free."""
    other = IMAGE_TOKENS * CHARACTERS_PER_TOKEN
    parts = (len(part["text"]["value"]) if part["type"] == "text" else other for part in message.content)
    return PER_MESSAGE + sum(parts)
