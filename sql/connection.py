"""The type of the connections that queries run on, and the store of the keys of streams that a connection may have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from sql.row_operations import RowOperation
    from sql.seals import StreamKey

# Quoted: asyncpg's classes take parameters only in their stubs.
Connection: TypeAlias = "asyncpg.Connection[Any]"


@dataclass(frozen=True, slots=True)
class WritingKey:
    """The key under which an append encrypts. `operation` stores it if it is new, else None."""

    key: StreamKey
    operation: RowOperation | None


class KeyStore(Protocol):
    """The keys of streams (`service.secrets`). Connections that `service.database` opens have one."""

    async def find(self, db: Connection, stream_ids: Collection[str]) -> Mapping[str, StreamKey]:
        """Returns the keys of those streams that have one."""

    async def for_writing(self, db: Connection, stream_id: str, *, is_new: bool) -> WritingKey | None:
        """Returns the key for an append to the stream, which `is_new` or exists; None if nothing is encrypted."""

    async def is_on(self, db: Connection) -> bool:
        """Whether new rows are encrypted."""

    def keep(self, key: StreamKey) -> None:
        """Keeps a new key that is stored now."""

    def forget(self, stream_id: str) -> None:
        """Drops what is kept of a stream's key: the database may have another one."""

    def drop_new(self, stream_id: str) -> None:
        """Notes that the row of a stream's new key is rolled back now."""

    def ask_again(self) -> None:
        """Lets the next append find out again if new rows are encrypted."""


def key_store(db: Connection) -> KeyStore | None:
    """Returns the store of keys of a connection; None if it has none, so that it reads and writes only plain rows."""
    return getattr(db, "key_store", None)
