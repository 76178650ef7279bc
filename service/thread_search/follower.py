"""Follows the log for the index of the words of messages, off the path of appends.

It is a background task of every process, of which one works at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, assert_never

from events.envelope import RecordedEvent
from events.thread import events as e
from projections import thread_words
from projections.thread_words import MessageWords
from service.database import Pool
from service.processes.scan_loop import ScanLoop
from service.search.words import WORD_RULES, divide_text
from service.tasks.background import background
from sql.connection import Connection

# Seconds between two looks at the log. A message is found at most so long after its event got its index.
SCAN_EVERY_S = 2.0
# Ranges of the log that one transaction reads.
PAGE_RANGES = 100
# Characters of a row. PostgreSQL bounds the words of a row at 1 MiB; the pairs of 50,000 characters take up to half.
PART_CHARACTERS = 50_000
# A part ends at a space if there is one in its last characters, so that no word is divided.
_LAST_SPACE = re.compile(r"\s\S{0,200}\Z")

_WordEvent = e.MessageAdded | e.MessageWritten | e.MessageImported | e.MessageDeleted | e.ThreadDeleted


class ThreadSearchFollower:
    """Adds and removes the words of messages until it is cancelled."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = ScanLoop("thread_search", every_s=SCAN_EVERY_S)

    async def run(self) -> None:
        """Looks at the log again and again."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Reads the events that have an index and were not read yet, a page in each transaction."""
        more = True
        while more:
            async with self._pool.acquire() as db, db.transaction():
                more = await _follow(db)


async def _follow(db: Connection) -> bool:
    """Reads the next page of the log. Returns whether more may follow."""
    progress = await thread_words.begin(db, WORD_RULES)
    if progress is None:
        return False
    page = await thread_words.read(db, progress, PAGE_RANGES)
    changes = WordChanges(page.recorded)
    await thread_words.remove_threads(db, changes.deleted_threads)
    await thread_words.remove_messages(db, changes.deleted_messages)
    await thread_words.add(db, await asyncio.to_thread(changes.words))
    await thread_words.move(db, replace(progress, next_index=page.next_index), WORD_RULES)
    return page.more


class WordChanges:
    """The changes that events of the log lead to: texts of messages, and messages and threads that were deleted."""

    def __init__(self, recorded: Sequence[RecordedEvent[_WordEvent]]) -> None:
        self._texts: dict[tuple[str, str], str] = {}
        self.deleted_messages: list[tuple[str, str]] = []
        self.deleted_threads: list[str] = []
        for each in recorded:
            self._note(each.stream_id, each.event)

    def _note(self, thread_id: str, event: _WordEvent) -> None:
        match event:
            case (
                e.MessageAdded(message_id=message_id, content=content)
                | e.MessageWritten(message_id=message_id, content=content)
            ):
                self._texts[thread_id, message_id] = text_of(content)
            case e.MessageImported(message_id=message_id, body=body):
                self._texts[thread_id, message_id] = text_of(body["content"])
            case e.MessageDeleted(message_id=message_id):
                self._texts.pop((thread_id, message_id), None)
                self.deleted_messages.append((thread_id, message_id))
            case e.ThreadDeleted():
                self._texts = {key: text for key, text in self._texts.items() if key[0] != thread_id}
                self.deleted_threads.append(thread_id)
            case _:
                assert_never(event)

    def words(self) -> list[MessageWords]:
        """Returns the words of the messages that are left."""
        return [
            MessageWords(
                thread_id=thread_id,
                message_id=message_id,
                part=part,
                language=words.language,
                spaced=words.spaced,
                pairs=words.pairs,
            )
            for (thread_id, message_id), text in self._texts.items()
            for part, words in enumerate(map(divide_text, split_text(text)))
        ]


def text_of(content: Sequence[dict[str, Any]]) -> str:
    """Returns the texts of the parts of a message. Images and files have none."""
    return "\n".join(part["text"]["value"] for part in content if part["type"] == "text")


def split_text(text: str) -> Iterator[str]:
    """Yields the parts of a text that is not blank, each of up to PART_CHARACTERS."""
    start = 0
    while start < len(text):
        piece = text[start : start + PART_CHARACTERS]
        if start + len(piece) < len(text) and (space := _LAST_SPACE.search(piece, len(piece) - 201)):
            piece = piece[: space.start() + 1]
        start += len(piece)
        if not piece.isspace():
            yield piece


@asynccontextmanager
async def thread_search_lifespan(pool: Pool) -> AsyncIterator[None]:
    """Follows the log while the context is open."""
    async with background(ThreadSearchFollower(pool).run()):
        yield
