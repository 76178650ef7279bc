"""Reads a thread's history for a prompt: no more of it than a model's window could hold."""

from __future__ import annotations

from events.objects import Message, Run
from projections import messages, steps
from projections.rows import Cursor
from service.database import Pool
from service.runs.prompt import IMAGE_TOKENS, PER_MESSAGE, Entry

PAGE = 200
MAX_STEPS = 1000
# Characters of text that no window of `window` tokens can exceed by more than this factor; older text is not read.
CHARACTERS_PER_TOKEN = 8


async def load(pool: Pool, project_id: str, run: Run, window: int) -> list[Entry]:
    """The newest messages and tool_calls steps of the run's thread, and its very first message. Window in tokens."""
    newest = (
        run.truncation_strategy.get("last_messages") if run.truncation_strategy["type"] == "last_messages" else None
    )
    async with pool.acquire() as db:
        found: list[Entry] = []
        characters, others, position = 0, 0, None
        while newest is None or others < newest:
            # What the run itself has said comes on top, or it would push out the question that it answers.
            wanted = PAGE if newest is None else min(PAGE, newest - others)
            page = await messages.newest(db, run.thread_id, position, wanted)
            found += page
            others += sum(message.run_id != run.id for _, message in page)
            characters += sum(_length(message) for _, message in page)
            if len(page) < wanted:
                break
            position = page[-1][0]
            if characters > window * CHARACTERS_PER_TOKEN:
                first = await messages.page(db, project_id, run.thread_id, Cursor(limit=1, order="asc"))
                found += [(0, message) for message in first.items if message.id not in {m.id for _, m in found}]
                break
        oldest = min((position for position, _ in found if position), default=0)
        since = oldest if newest is not None or position is not None else 0
        found += await steps.with_calls_since(db, run.thread_id, since, MAX_STEPS)
    return found


def _length(message: Message) -> int:
    """Characters of text, or what other parts count for as if they were text; no message is free."""
    other = IMAGE_TOKENS * CHARACTERS_PER_TOKEN
    parts = (len(part["text"]["value"]) if part["type"] == "text" else other for part in message.content)
    return PER_MESSAGE + sum(parts)
