"""Finds threads by filter and deletes them, through the Writer as the API does.

Threads are deleted page by page, oldest first, each by an append of its own. If the command is interrupted, the
threads whose ids it printed are deleted; the same command continues with the remaining ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from events.envelope import Origin
from events.errors import NotFound
from events.objects import Thread
from events.thread.commands import DeleteThread
from projections import metadata, threads
from projections.metadata import Filter
from projections.rows import Cursor
from service.cli.admin import actor
from service.errors import CommandError
from service.processes.peers import notify_servers
from service.writer import Writer

PAGE = 200


def filter_of(pairs: list[str], after: str | None, before: str | None, at: datetime) -> Filter:
    """Returns the filter that the options describe. It excludes threads that are created after `at`.

    `pairs` are `key=value` texts; `after` and `before` are times in the forms of the options. Raises CommandError if an
    option cannot be read.
    """
    found = pairs_of(pairs)
    since = None if after is None else parse_time(after, "--after")
    until = at if before is None else min(at, parse_time(before, "--before"))
    return Filter(tuple(found.items()), since, until)


def pairs_of(texts: list[str]) -> dict[str, str]:
    """Returns the metadata that `key=value` texts describe. Raises CommandError if one cannot be read."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(f"--metadata: write key=value, not '{text}'")
        if found.setdefault(key, value) != value:
            raise CommandError(f"--metadata: '{key}' is given twice with different values")
    return found


async def find_threads(writer: Writer, project_id: str, filter: Filter) -> AsyncIterator[list[Thread]]:
    """Yields pages of the threads that match the filter, oldest first. Threads may be deleted between two pages."""
    after: str | None = None
    while True:
        async with writer.pool.acquire() as db:
            page = await threads.page(db, project_id, Cursor(PAGE, "asc", after), filter)
        if page.items:
            yield page.items
        if not page.more:
            return
        after = page.items[-1].id


async def count(writer: Writer, project_id: str, filter: Filter) -> int:
    """Returns the number of threads that match the filter."""
    async with writer.pool.acquire() as db:
        return await metadata.count_threads(db, project_id, filter)


async def delete(writer: Writer, project_id: str, filter: Filter) -> AsyncIterator[list[str]]:
    """Deletes the threads that match the filter, and yields the ids of each page that is deleted.

    Servers are notified after each page, and stop the runs of its threads.
    """
    origin = Origin(project_id, actor())
    async for page in find_threads(writer, project_id, filter):
        deleted = []
        for thread in page:
            if not filter.pairs_in(thread.metadata):  # the index of older releases may hold pairs that were removed
                continue
            try:
                await writer.thread(origin, thread.id, DeleteThread())
            except NotFound:
                continue  # another client deleted it first
            deleted.append(thread.id)
        async with writer.pool.acquire() as db:
            await notify_servers(db, deleted)
        yield deleted


def parse_time(given: str, option: str) -> datetime:
    """Parses a date, a date with a time (in UTC if it names no zone), or Unix seconds. Raises CommandError."""
    try:
        if given.isascii() and given.isdigit() and len(given) > 8:
            return datetime.fromtimestamp(int(given), UTC)
        found = datetime.fromisoformat(given)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise CommandError(f"{option}: write 2026-01-31, 2026-01-31T12:00 or Unix seconds") from None
