"""The streams whose object was deleted, and how far their data are erased.

The eraser (`service.erasure`) follows the log and adds the rows; no append writes them. A row stays when its stream is
erased, since readers of the log leave out the events that nobody can read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from events import event_log
from projections.log_follower import columns_of
from sql import queries
from sql.connection import Connection, key_store

# Events that delete the object of their stream. An upload has none: it is a part of its file's history.
DELETIONS = (
    "assistant.deleted",
    "file.deleted",
    "file.expired",
    "thread.deleted",
    "vector_store.deleted",
    "webhook_endpoint.deleted",
)
_SQL = queries("erasures")


@dataclass(frozen=True, slots=True)
class Erasure:
    """A stream whose object was deleted in version `version`. `kind` is the name of the stream's type."""

    stream_id: str
    kind: str
    project_id: str
    version: int
    deleted_at: datetime


@dataclass(frozen=True, slots=True)
class KeyErasure(Erasure):
    """A stream of which no copy is left, and the id of its data key, which is to be destroyed."""

    key_id: str


@dataclass(frozen=True, slots=True)
class HeldStream:
    """A stream whose head a transaction holds, with the version and the state of the head."""

    erasure: KeyErasure
    version: int
    state: bytes


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A file that code of a thread made and that belongs to no other object."""

    id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class FoundStream:
    """A stream that a restored database has again, with its key."""

    id: str
    kind: str
    project_id: str


async def find_with_keys(db: Connection, keys: Sequence[tuple[str, str]]) -> list[FoundStream]:
    """Returns those of the streams that have the key of the same pair (stream, id of the key)."""
    ids, key_ids = [stream_id for stream_id, _ in keys], [key_id for _, key_id in keys]
    return [FoundStream(**row) for row in await db.fetch(_SQL["find_with_keys"], ids, key_ids)]


async def follow(db: Connection, limit: int) -> bool:
    """Adds the deletions in the next `limit` ranges of the log. Returns whether more may follow.

    If another process is at it, does nothing. The caller must have opened a transaction.
    """
    progress = await db.fetchrow(_SQL["lock"])
    if progress is None or progress["current_epoch"] is None:
        return False
    is_same_log = progress["epoch"] == progress["current_epoch"]
    first = progress["next_index"] if is_same_log else 0
    page = await db.fetchrow(_SQL["next_ranges"], first, limit)
    assert page is not None
    next_index = first if page["next_index"] is None else page["next_index"]
    deleted = await db.fetch(_SQL["deletions"], first, next_index, list(DELETIONS))
    if deleted:
        await db.execute(_SQL["add"], *(column for column in columns_of([tuple(row) for row in deleted])))
    if next_index != first or not is_same_log:
        await db.execute(_SQL["move"], progress["current_epoch"], next_index)
    return bool(page["count"] == limit)


async def add_deleted(db: Connection, stream_ids: Collection[str]) -> None:
    """Adds streams whose objects were deleted, without the log."""
    await db.execute(_SQL["add_now"], list(stream_ids))


async def claim_uncleared(db: Connection, limit: int, seconds: float) -> list[Erasure]:
    """Returns streams whose copies are to be removed. Other processes leave them alone for `seconds`."""
    reported = await db.fetchval(_SQL["reported_index"])
    return [Erasure(**row) for row in await db.fetch(_SQL["claim_uncleared"], limit, seconds, reported)]


async def claim_unerased(db: Connection, limit: int, seconds: float) -> list[KeyErasure]:
    """Returns cleared streams whose keys are to be destroyed. Other processes leave them alone for `seconds`.

    A stream that has plain events waits: `everthread encryption enable` has not come to it.
    """
    return [KeyErasure(**row) for row in await db.fetch(_SQL["claim_unerased"], limit, seconds)]


async def exists_again(db: Connection, erasure: Erasure) -> bool:
    """Whether the object was created again: a repeated request may create a file whose deletion it did not see."""
    created = f"{erasure.kind}.created"
    return bool(await db.fetchval(_SQL["exists_again"], erasure.stream_id, erasure.version, created))


async def drop(db: Connection, erasure: Erasure) -> None:
    """Ends the erasure of a stream whose object exists again: removes its row, if nothing of the stream was erased."""
    await db.execute(_SQL["drop"], erasure.stream_id, erasure.version)
    await db.execute(_SQL["complete"], erasure.stream_id, erasure.version)


async def mark_cleared(db: Connection, erasure: Erasure) -> None:
    """Notes that no copy of the stream's data is left."""
    await db.execute(_SQL["mark_cleared"], erasure.stream_id, erasure.version)


async def remove_answers(db: Connection, stream_id: str, missing: bytes) -> None:
    """Replaces the stored answers of the requests that changed the stream by `missing`, the body of a 404."""
    await db.execute(_SQL["answer_missing"], stream_id, missing)
    await db.execute(_SQL["forget_effects"], stream_id)


async def drop_queued(db: Connection, stream_id: str) -> None:
    """Deletes the deliveries to webhooks and the live deltas of the stream."""
    await db.execute(_SQL["drop_deliveries"], stream_id)
    await db.execute(_SQL["drop_deltas"], stream_id)


async def find_own_files(db: Connection, file_ids: Sequence[str]) -> list[OwnFile]:
    """Returns those of the files that code made and that no client attached to another object."""
    rows = await db.fetch(_SQL["own_files"], list(file_ids))
    return [OwnFile(row["stream_id"], row["project_id"]) for row in rows]


async def note_attached(db: Connection, file_ids: Sequence[str]) -> None:
    """Notes that a client attached these files, which code made, to an object."""
    await db.execute(_SQL["attach_code_files"], list(file_ids))


async def existing_threads(db: Connection, thread_ids: Collection[str]) -> set[str]:
    """Returns those of the threads that exist."""
    return {row["thread_id"] for row in await db.fetch(_SQL["existing_threads"], list(thread_ids))}


async def hold(db: Connection, erasure: KeyErasure) -> HeldStream | None:
    """Locks the head of a stream until the transaction ends, so that its object cannot be created again meanwhile.

    Returns None if it has another key by now, or if its object exists again: then the erasure ends (`drop`).
    """
    held = await db.fetchrow(_SQL["hold"], erasure.stream_id, event_log.view_epoch(is_encrypted=True))
    if held is None or await db.fetchval(_SQL["key_id"], erasure.stream_id) != erasure.key_id:
        return None
    if await exists_again(db, erasure):
        await drop(db, erasure)
        return None
    return HeldStream(erasure, held["version"], held["state"])


async def destroy_key(db: Connection, held: HeldStream) -> None:
    """Destroys the key of a stream. The transaction must hold its head.

    The state of the head becomes plain: that of a deleted object has no text.
    """
    stream_id = held.erasure.stream_id
    await db.execute(_SQL["destroy_key"], stream_id, held.erasure.key_id)
    await db.execute(_SQL["write_state"], stream_id, held.state)
    await db.execute(_SQL["mark_erased"], stream_id, held.version)


def forget_keys(db: Connection, stream_ids: Collection[str]) -> None:
    """Drops the keys of the streams from the memory of this process."""
    keys = key_store(db)
    if keys is not None:
        for stream_id in stream_ids:
            keys.forget(stream_id)


async def erased_version(db: Connection, stream_id: str) -> int:
    """Returns the version up to which the events of the stream cannot be read; 0 if all can."""
    version: int | None = await db.fetchval(_SQL["erased_version"], stream_id)
    return version or 0
