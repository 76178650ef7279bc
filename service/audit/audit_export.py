"""Exports of the log: its events in the order of their indexes, for a file or another program.

An export is an act of a person: the stream of the installation has an event before its first event is read, and one
with its count at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from events.envelope import Origin
from events.errors import DomainError
from events.ids import IdSource
from events.installation import (
    INSTALLATION_PROJECT,
    ExportEnded,
    ExportFormat,
    ExportStarted,
    RecordActs,
)
from service.audit.acts import write_installation
from service.audit.audit_feed import AuditEvent, AuditFilter, load_end, read_page
from service.database import DATABASE_ERRORS
from service.writer import Writer

log = structlog.get_logger()

# Events of a page.
PAGE = 1_000
# Seconds between looks for new events, if the export follows the log.
LOOK_EVERY_S = 0.5
# Seconds in which the end of an export must be recorded.
RECORD_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOrder:
    """The events to export: those with indexes from `first_index` on that `wanted` lets through.

    `filters` describes `wanted` for the record, by the names of the options. `is_following` if the export goes on
    behind the newest event.
    """

    format: ExportFormat
    wanted: AuditFilter
    filters: dict[str, str]
    first_index: int
    has_contents: bool
    is_following: bool


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Events of an export. `next_index` is the index to go on with, and `end` that after the last event of the log."""

    events: Sequence[AuditEvent]
    next_index: int
    end: int


class AuditExport:
    """An export at work. `count` and `last_index` are those of the events that were written: see `add`."""

    def __init__(self, writer: Writer, order: ExportOrder) -> None:
        self._writer = writer
        self._order = order
        self._is_stopped = asyncio.Event()
        self.count = 0
        self.last_index: int | None = None
        self.next_index = order.first_index

    async def pages(self) -> AsyncIterator[ExportPage]:
        """Yields the events up to the end that the log had at the beginning, or until `stop`."""
        order, end = self._order, None
        while not self._is_stopped.is_set():
            async with self._writer.pool.acquire() as db:
                log_end = await load_end(db)
                end = log_end if end is None or order.is_following else end
                after = self.next_index - 1
                page = await read_page(db, order.wanted, after=after, limit=PAGE, has_contents=order.has_contents)
            events = [event for event in page.events if event.log_index < end]
            is_last = not page.more or len(events) < len(page.events)
            next_index = max(self.next_index, end) if is_last else events[-1].log_index + 1
            yield ExportPage(events, next_index, log_end)
            self.next_index = next_index
            if is_last and not order.is_following:
                return
            if is_last:
                await self._pause()

    def add(self, page: ExportPage) -> None:
        """Counts the events of a page, which have been written."""
        self.count += len(page.events)
        if page.events:
            self.last_index = page.events[-1].log_index

    def stop(self) -> None:
        """Ends the export behind the current page."""
        self._is_stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped.is_set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._is_stopped.wait()
        except TimeoutError:
            return


@asynccontextmanager
async def open_export(
    writer: Writer, origin: Origin, order: ExportOrder, *, ids: IdSource
) -> AsyncIterator[AuditExport]:
    """Records the beginning of an export, yields it, and records its end."""
    export = AuditExport(writer, order)
    started = ExportStarted(
        export_id=ids.new("export"),
        format=order.format,
        filters=order.filters,
        first_index=order.first_index,
        has_contents=order.has_contents,
        is_following=order.is_following,
    )
    async with record_export(writer, origin, started, export):
        yield export


class CountedExport(Protocol):
    """An export at work, with the number of events so far and the index of the last one."""

    count: int
    last_index: int | None


@asynccontextmanager
async def record_export(
    writer: Writer, origin: Origin, started: ExportStarted, export: CountedExport
) -> AsyncIterator[None]:
    """Records the beginning of an export before the block, and its end after it, also if the block raises."""
    origin = replace(origin, project_id=INSTALLATION_PROJECT)
    await write_installation(writer, origin, RecordActs((started,)))
    try:
        yield
    finally:
        ended = ExportEnded(export_id=started.export_id, count=export.count, last_index=export.last_index)
        try:
            async with asyncio.timeout(RECORD_TIMEOUT_S):
                await write_installation(writer, origin, RecordActs((ended,)))
        except (TimeoutError, DomainError, *DATABASE_ERRORS) as error:
            log.warning("export_end_not_recorded", export=started.export_id, error=str(error) or type(error).__name__)
