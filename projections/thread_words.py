"""The words of messages, by which threads are found. A follower of the log adds the rows (`service.thread_search`).

The tables are unlogged: a crash of PostgreSQL empties them with the progress, and the rows are made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.objects import Thread
from projections import metadata
from projections.log_follower import LogPage, columns_of, read_page
from projections.metadata import Filter
from projections.rows import Cursor, Page, load_rows
from projections.threads import find_position, load_thread
from sql import queries
from sql.connection import Connection

_SQL = queries("thread_words")

ADDITIONS = ("message.added", "message.written", "message.imported")
# The types of the events that change rows.
TYPES = (*ADDITIONS, "message.deleted", "thread.deleted")


@dataclass(frozen=True, slots=True)
class MessageWords:
    """The words of a part of a message: `spaced` is a text to stem in the language, `pairs` a tsvector."""

    thread_id: str
    message_id: str
    part: int
    language: str
    spaced: str
    pairs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WordProgress:
    """The index of the log up to which the rows are complete, in an epoch."""

    epoch: int
    next_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """Conditions on threads: a tsquery that one of their messages matches, the assistant of one of their runs, and the
    status of their last run. None lets all through."""

    words: str | None = None
    assistant_id: str | None = None
    status: str | None = None


async def begin(db: Connection, rules: int) -> WordProgress | None:
    """Locks the progress and returns it; None if another process works on it.

    In a new epoch of the log, or if the rules of words are newer than those of the rows, it removes all rows and begins
    with the first event. The caller must have opened a transaction.
    """
    await db.execute(_SQL["begin"], rules)
    found = await db.fetchrow(_SQL["lock"])
    if found is None or found["current_epoch"] is None:
        return None
    if found["epoch"] == found["current_epoch"] and found["rules"] >= rules:
        return WordProgress(epoch=found["epoch"], next_index=found["next_index"])
    await db.execute(_SQL["forget"])
    return WordProgress(epoch=found["current_epoch"], next_index=0)


async def read(db: Connection, progress: WordProgress, limit: int) -> LogPage:
    """Returns the events that change rows in the next `limit` ranges of the log."""
    return await read_page(db, progress.next_index, TYPES, limit)


async def move(db: Connection, progress: WordProgress, rules: int) -> None:
    """Notes that the rows are complete up to an index."""
    await db.execute(_SQL["move"], progress.epoch, progress.next_index, rules)


async def add(db: Connection, words: Sequence[MessageWords]) -> None:
    """Adds the words of messages whose threads exist."""
    if words:
        rows = [(each.thread_id, each.message_id, each.part, each.language, each.spaced, each.pairs) for each in words]
        await db.execute(_SQL["add"], *(column for column in columns_of(rows)))


async def remove_messages(db: Connection, messages: Sequence[tuple[str, str]]) -> None:
    """Removes the words of messages, each given by the ids of its thread and its own."""
    if messages:
        await db.execute(_SQL["remove_messages"], *(column for column in columns_of(messages)))


async def remove_threads(db: Connection, thread_ids: Sequence[str]) -> None:
    """Removes the words of all messages of threads."""
    if thread_ids:
        await db.execute(_SQL["remove_threads"], list(thread_ids))


async def stems(db: Connection, text: str, languages: Sequence[str]) -> list[str]:
    """Returns the tsqueries of a text, one for each language that gives another. Languages of which all its words are
    stop words give none."""
    rows = await db.fetch(_SQL["stems"], text, list(languages))
    return sorted(row["query"] for row in rows if row["query"])


async def page(db: Connection, project_id: str, cursor: Cursor, only: Filter, wanted: ThreadQuery) -> Page[Thread]:
    """Returns a page of the project's threads that match. Raises NotFound as `threads.page` does."""
    after = None if cursor.after is None else await find_position(db, project_id, cursor.after)
    before = None if cursor.before is None else await find_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    bounds = only.bounds(lower, upper)
    query = _SQL[f"page_{cursor.scan}"] if wanted.words is None else _SQL[f"found_{cursor.scan}"]
    rows = await db.fetch(
        query,
        project_id,
        bounds.lower_time,
        bounds.lower_id,
        bounds.upper_time,
        bounds.upper_id,
        cursor.limit + 1,
        [metadata.hash_pair(key, value) for key, value in only.pairs],
        wanted.assistant_id,
        wanted.status,
        *(words for words in [wanted.words] if words is not None),
    )
    return cursor.page(await load_rows(rows, load_thread))
