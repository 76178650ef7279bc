"""Reads a thread's history for a prompt: no more of it than a model's window could hold.

The order is that of a conversation, not of the stream: a message that a client wrote while a run worked comes behind
what the run answered, and is for the runs created later. So a run's prompt is the same however often it is made.
"""

from __future__ import annotations

from events.objects import Message, Run, Step
from projections import messages, steps
from projections.rows import Place
from service.database import Pool
from service.runs.prompt import IMAGE_TOKENS, PER_MESSAGE, Entry

PAGE = 200
MAX_STEPS = 1000
# Characters of text that no window of `window` tokens can exceed by more than this factor; older text is not read.
CHARACTERS_PER_TOKEN = 8
_BEGINNING: Place = (0, 0)


async def load(pool: Pool, run: Run, window: int) -> list[Entry]:
    """The newest messages and tool_calls steps that the run may read, and the thread's very first message.

    Numbered in their order. Window in tokens.
    """
    newest = (
        run.truncation_strategy.get("last_messages") if run.truncation_strategy["type"] == "last_messages" else None
    )
    first: tuple[Place, Message] | None = None
    async with pool.acquire() as db:
        found: list[tuple[Place, Message | Step]] = []
        characters, others = 0, 0
        place: Place | None = None
        while newest is None or others < newest:
            # What the run itself has said comes on top, or it would push out the question that it answers.
            wanted = PAGE if newest is None else min(PAGE, newest - others)
            page = await messages.newest(db, run.thread_id, run.id, place, wanted)
            found += page
            others += sum(message.run_id != run.id for _, message in page)
            characters += sum(_length(message) for _, message in page)
            if len(page) < wanted:
                break
            place = page[-1][0]
            if characters > window * CHARACTERS_PER_TOKEN:
                first = await messages.first(db, run.thread_id)
                break
        oldest = min((place for place, _ in found), default=_BEGINNING)
        since = oldest if newest is not None or place is not None else _BEGINNING
        found += await steps.with_calls_since(db, run.thread_id, since, MAX_STEPS)
    if first is not None and first[1].id not in {entry.id for _, entry in found}:
        found.append(first)
    found.sort(key=lambda placed: placed[0])
    return list(enumerate((entry for _, entry in found), start=1))


def _length(message: Message) -> int:
    """Characters of text, or what other parts count for as if they were text; no message is free."""
    other = IMAGE_TOKENS * CHARACTERS_PER_TOKEN
    parts = (len(part["text"]["value"]) if part["type"] == "text" else other for part in message.content)
    return PER_MESSAGE + sum(parts)
