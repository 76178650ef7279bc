"""Threads at the command line: found by filter, and deleted through the Writer as the API does it.

A delete goes page by page, oldest first, each thread by an append of its own. One that is stopped half-way has deleted
what it said; asked again it goes on with what is left.
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
from service.cli.admin import ACTOR
from service.errors import CommandError
from service.peers import tell_servers
from service.writer import Writer

PAGE = 200


def filter_of(pairs: list[str], after: str | None, before: str | None, at: datetime) -> Filter:
    """From what the command line says, up to the moment `at`: what is made later is left. Raises CommandError."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CommandError(f"--metadata: write key=value, not '{pair}'")
        if found.setdefault(key, value) != value:
            raise CommandError(f"--metadata: '{key}' was given twice")
    since = None if after is None else _time(after, "--after")
    until = at if before is None else min(at, _time(before, "--before"))
    return Filter(tuple(found.items()), since, until)


async def matching(writer: Writer, project_id: str, found: Filter) -> AsyncIterator[list[Thread]]:
    """Pages of the threads that a filter finds, oldest first; threads may vanish between pages."""
    after: str | None = None
    while True:
        async with writer.pool.acquire() as db:
            page = await threads.page(db, project_id, Cursor(PAGE, "asc", after), found)
        if page.items:
            yield page.items
        if not page.more:
            return
        after = page.items[-1].id


async def count(writer: Writer, project_id: str, found: Filter) -> int:
    async with writer.pool.acquire() as db:
        return await metadata.count_threads(db, project_id, found)


async def delete(writer: Writer, project_id: str, found: Filter) -> AsyncIterator[list[str]]:
    """Deletes what the filter finds, and tells the ids of each page once it is gone. Servers stop the runs in them."""
    origin = Origin(project_id, ACTOR)
    async for page in matching(writer, project_id, found):
        gone = []
        for thread in page:
            if not found.pairs_in(thread.metadata):  # rows that older software changed may name pairs that are gone
                continue
            try:
                await writer.thread(origin, thread.id, DeleteThread())
            except NotFound:
                continue  # somebody else was faster
            gone.append(thread.id)
        async with writer.pool.acquire() as db:
            await tell_servers(db, gone)
        yield gone


def _time(given: str, option: str) -> datetime:
    """A date, a date and time (UTC where it names no zone), or seconds since 1970."""
    try:
        if given.isascii() and given.isdigit() and len(given) > 8:
            return datetime.fromtimestamp(int(given), UTC)
        found = datetime.fromisoformat(given)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise CommandError(f"{option}: write 2026-01-31, 2026-01-31T12:00 or seconds since 1970") from None
