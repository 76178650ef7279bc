"""Opens streams as they were at a point in the past, from their events alone.

A deleted object, and a deleted message of a thread, appears in the past only to viewers who may see what was deleted:
API keys with the scope `audit:content`. For all others it is as if it had never been there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events import codec, event_log, leaves
from events.clock import Clock
from events.errors import NotFound, Rejection
from events.event_log import Head
from events.file import FileCreated
from events.references import Referrer, keep_stores, referenced_files, referenced_stores
from events.streams import StreamType
from projections.files import keep_found_files
from projections.generations import Project
from projections.row_fold import CannotFold
from projections.row_store.tables import Tables
from service.database import Pool
from service.fair_places import FairPlaces
from service.replay.beginnings import NotYetFound, find_beginning, first_event
from service.replay.deletions import deleted_since
from service.replay.stream_fold import fold_stream
from service.wire.as_of import AsOf, Moment, StreamVersion
from sql import queries

_SQL = queries("replay")
# Folds at once in a process, those of them that are kept for projects that have none, and seconds that a request waits
# for its turn.
MAX_FOLDS = 2
RESERVED_FOLDS = 1
MAX_WAIT_S = 30.0
_FILE_LIFE = ("file.created", "file.deleted", "file.expired")
_STORE_LIFE = ("vector_store.created", "vector_store.deleted")


class ReplayBusy(Exception):
    """Other requests of the project, or of all projects, held the places for folds for MAX_WAIT_S seconds."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The project whose objects are read, and whether objects that are deleted by now may be seen."""

    project_id: str
    sees_deleted: bool


@dataclass(frozen=True, slots=True)
class PastStream:
    """A stream as it was after version `version`. `moment` is the time of the view: by it, files and stores exist.

    `newest` is the version that the stream has by now. `state` is that of the stream at `version`. `hidden` are the ids
    of messages that were deleted since, and that the viewer may not see.
    """

    id: str
    at: AsOf
    moment: datetime
    version: int
    newest: int
    state: Any
    tables: Tables
    hidden: frozenset[str]


class TimeTravel:
    """Folds streams up to points in the past, a bounded number at once, shared fairly between projects."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self.pool = pool
        self.clock = clock
        self._places = FairPlaces(MAX_FOLDS, reserve=RESERVED_FOLDS)

    async def open(
        self,
        stream_type: StreamType[Any, Any],
        stream_id: str,
        at: AsOf,
        viewer: Viewer,
        views: Sequence[Project],
    ) -> PastStream:
        """Returns the stream at a point, with the rows of `views`.

        Raises NotFound if there is no such stream, or if it is deleted and the viewer may not see that; NotYetFound if
        it began later; Rejection if it has no such version yet, or is too large for memory; CannotFold if an event is
        missing; ReplayBusy.
        """
        head = await self.head(stream_type, stream_id, viewer)
        version = await self._version(stream_id, at, head)
        hidden = await deleted_since(self.pool, stream_id, version, head.version)
        if stream_id in hidden and not viewer.sees_deleted:
            raise NotFound(stream_type.noun, stream_id)
        if version < 1:
            raise NotYetFound(stream_type.noun, stream_id, at, await first_event(self.pool, stream_id))
        async with self.place(viewer):
            fold = await fold_stream(self.pool, stream_type, stream_id, version, views)
        assert fold.at is not None, "a stream has at least one event"
        return PastStream(
            id=stream_id,
            at=at,
            moment=self.moment_of(at) if isinstance(at, Moment) else fold.at,
            version=version,
            newest=head.version,
            state=fold.state,
            tables=fold.rows.tables,
            hidden=frozenset() if viewer.sees_deleted else hidden,
        )

    async def head(self, stream_type: StreamType[Any, Any], stream_id: str, viewer: Viewer) -> Head:
        """Returns the head of a stream, also of a deleted one. Raises NotFound if the viewer's project has none."""
        async with self.pool.acquire() as db:
            head = await event_log.head(db, stream_id, stream_type)
        if head.version == 0 or head.project_id != viewer.project_id:
            raise NotFound(stream_type.noun, stream_id)
        return head

    def moment_of(self, at: Moment) -> datetime:
        """Returns the time of a point. A time in the future is the present."""
        return min(at.at, self.clock.now())

    async def refusal(self, past: PastStream, noun: str, id: str) -> NotFound:
        """Returns the error for an object that the stream did not have: if it began later, the error says when."""
        if id not in past.hidden:
            began = await find_beginning(self.pool, past.id, id, after=past.version, until=past.newest)
            if began is not None:
                return NotYetFound(noun, id, past.at, began)
        return NotFound(noun, id)

    async def present(self, shown: Sequence[Referrer], viewer: Viewer, moment: datetime) -> list[Referrer]:
        """Returns the objects without references to files and vector stores that did not exist at a moment."""
        file_ids = {id for each in shown for id in referenced_files(each)}
        store_ids = {id for each in shown for id in referenced_stores(each)}
        found = list(shown)
        if file_ids:
            found = keep_found_files(found, await self.files_at(file_ids, viewer, moment))
        if store_ids:
            stores = await self._stores_at(store_ids, viewer, moment)
            found = [keep_stores(each, stores) for each in found]
        return found

    async def files_at(self, ids: Collection[str], viewer: Viewer, moment: datetime) -> set[str]:
        """Returns those of the files that existed at a moment."""
        rows = await self.pool.fetch(_SQL["life_at"], list(ids), moment, viewer.project_id, list(_FILE_LIFE))
        found = set()
        for row in rows:
            event = codec.load(leaves.content_json(row["content"]), row["schema_version"])
            if isinstance(event, FileCreated) and (
                event.expires_at is None or event.expires_at > int(moment.timestamp())
            ):
                found.add(row["stream_id"])
        return found

    async def _stores_at(self, ids: Collection[str], viewer: Viewer, moment: datetime) -> set[str]:
        rows = await self.pool.fetch(_SQL["life_at"], list(ids), moment, viewer.project_id, list(_STORE_LIFE))
        return {row["stream_id"] for row in rows if row["type"] == "vector_store.created"}

    async def _version(self, stream_id: str, at: AsOf, head: Head) -> int:
        """Returns the version of the point; 0 if the stream had no event yet."""
        if isinstance(at, StreamVersion):
            if at.version > head.version:
                message = f"Invalid 'at': the newest version of '{stream_id}' is {head.version}."
                raise Rejection(message, param="at", code="invalid_value")
            return max(0, at.version)
        found: int | None = await self.pool.fetchval(_SQL["version_at"], stream_id, at.at, head.version)
        if found is None:
            raise CannotFold(stream_id, f"one of its events up to {head.version} is missing")
        return found

    @asynccontextmanager
    async def place(self, viewer: Viewer) -> AsyncIterator[None]:
        """Holds one of the project's places for folds. Raises ReplayBusy if none gets free."""
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._places.take(viewer.project_id)
        except TimeoutError:
            raise ReplayBusy from None
        try:
            yield
        finally:
            self._places.release(viewer.project_id)
