"""API keys: found by their hash, listed for people, with the time of their last use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import assert_never

from events.actors import KeyActor, actor_text
from events.api_key import KeyCreated, KeyEvent, KeyModified, KeyRevoked, KeyState, Scope
from events.envelope import RecordedEvent
from events.errors import NotFound
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("keys")
_LIST_PAGE = 500
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The facts about a key that a request needs. A limit that is None does not apply."""

    id: str
    project_id: str
    scope: Scope
    hash: bytes = field(repr=False)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_runs: int | None = None

    @property
    def actor(self) -> KeyActor:
        """The actor of events that the key caused."""
        return KeyActor(self.id)


@dataclass(frozen=True, slots=True)
class ListedKey:
    id: str
    project_id: str
    name: str
    scope: Scope
    ending: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_runs: int | None
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


def project(batch: Sequence[RecordedEvent[KeyEvent]], before: KeyState) -> list[RowOperation]:
    """Returns the operations on the rows of API keys."""
    operations: list[RowOperation] = []
    for recorded in batch:
        match recorded.event:
            case KeyCreated() as created:
                limits = (created.requests_per_minute, created.tokens_per_minute, created.max_runs)
                key = (recorded.stream_id, recorded.project_id, recorded.at, created.name, created.scope)
                values = (*key, bytes.fromhex(created.hash), created.ending, *limits)
                operations.append(RowOperation("api_keys.insert", values))
            case KeyModified() as changed:
                limits = (changed.requests_per_minute, changed.tokens_per_minute, changed.max_runs)
                operations.append(RowOperation("api_keys.modify", (recorded.stream_id, changed.name, *limits)))
            case KeyRevoked():
                operations.append(RowOperation("api_keys.revoke", (recorded.stream_id, recorded.at)))
            case _:
                assert_never(recorded.event)
    return operations


async def find_by_hash(db: Connection, digest: bytes) -> ApiKey | None:
    """Returns the key with this sha256, or None if there is none or it was revoked."""
    row = await db.fetchrow(_SQL["find_by_hash"], digest)
    return None if row is None else ApiKey(**row)


async def find_by_id(db: Connection, key_id: str) -> ApiKey | None:
    """Returns the key with this id, or None if there is none or it was revoked."""
    row = await db.fetchrow(_SQL["find_by_id"], key_id)
    return None if row is None else ApiKey(**row)


async def find_valid(db: Connection, key_ids: Sequence[str]) -> set[str]:
    """Returns those of the keys that exist and were not revoked."""
    return {row["id"] for row in await db.fetch(_SQL["find_valid"], list(key_ids))}


async def project_of(db: Connection, key_id: str) -> str:
    """Returns the key's project. Raises NotFound if the key does not exist."""
    found: str | None = await db.fetchval(_SQL["project_of"], key_id)
    if found is None:
        raise NotFound("key", key_id)
    return found


async def get(db: Connection, project_id: str, key_id: str) -> ListedKey:
    """Returns the key of a project. Raises NotFound if it does not exist or was revoked."""
    row = await db.fetchrow(_SQL["get"], key_id, project_id)
    if row is None:
        raise NotFound("key", key_id)
    return ListedKey(**row)


async def page(
    db: Connection, project_id: str, *, after: str | None, limit: int, has_revoked: bool
) -> tuple[list[ListedKey], bool]:
    """Returns up to `limit` keys of a project behind the key `after`, oldest first, and whether more follow.

    Revoked ones are among them if `has_revoked`. Raises NotFound if the project has no key `after`.
    """
    last_time, last_id = _FIRST, ""
    if after is not None:
        row = await db.fetchrow(_SQL["position"], after, project_id)
        if row is None:
            raise NotFound("key", after)
        last_time, last_id = row["created_at"], after
    rows = await db.fetch(_SQL["page"], project_id, last_time, last_id, has_revoked, limit + 1)
    return [ListedKey(**row) for row in rows[:limit]], len(rows) > limit


async def list_keys(db: Connection, project_id: str | None = None) -> AsyncIterator[ListedKey]:
    """Yields all keys, or those of a project, oldest first, revoked ones included."""
    last_time, last_id = _FIRST, ""
    while rows := await db.fetch(_SQL["list"], project_id, last_time, last_id, _LIST_PAGE):
        for row in rows:
            yield ListedKey(**row)
        last_time, last_id = rows[-1]["created_at"], rows[-1]["id"]


async def record_last_uses(db: Connection, at: Mapping[str, datetime]) -> None:
    """Stores when keys were last used, in one statement. It updates rows in order of their ids, so that processes never
    deadlock.
    """
    ids = sorted(at)
    await db.execute(_SQL["record_last_uses"], ids, [at[id] for id in ids])


async def count_active_runs(db: Connection, key: ApiKey) -> int:
    """Returns the number of runs that were created with the key and have not ended."""
    found: int = await db.fetchval(_SQL["count_active_runs"], key.project_id, actor_text(key.actor))
    return found
