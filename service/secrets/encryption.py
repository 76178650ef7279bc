"""Whether an installation is encrypted, and the epochs of its key-encryption keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import asyncpg
import structlog

from service.errors import CommandError, StartupError
from service.secrets.key_ring import RING, KeyRing, id_of
from service.secrets.key_source import EncryptionKeySource, add_key, load_keys
from service.secrets.stream_keys import name_of
from sql import queries
from sql.connection import Connection
from sql.sealed_columns import SEALED_KINDS
from sql.table_changes import change_tables

log = structlog.get_logger()

# Keys of streams that one statement wraps again.
WRAPPED_PAGE = 500
# Seconds that a count over all streams may take.
STATEMENT_S = 600.0
# Seconds for which the beginning of an epoch tries to lock the tables.
LOCK_WAIT_S = 600.0
_SQL = queries("encryption")
_KEYS = queries("stream_keys")


async def read_keys(source: EncryptionKeySource, *, ring: KeyRing = RING) -> list[bytes]:
    """Returns the key-encryption keys, the newest last, and adds them to the ring. Raises StartupError."""
    keys = await load_keys(source)
    ring.add(keys)
    ring.read_from(partial(load_keys, source))
    return keys


async def prepare_encryption(
    db: Connection, source: EncryptionKeySource, keys: list[bytes], *, wants_encryption: bool, ring: KeyRing = RING
) -> None:
    """Checks that the keys are those of the database. A new database becomes encrypted if the settings want that.

    Raises StartupError; KeyMissing if the database is encrypted and the key of its newest epoch, or an older key that
    still wraps keys of streams, is missing.
    """
    # First: another process may begin the encryption, and write, before the next statement.
    has_streams = await db.fetchval(_SQL["has_streams"])
    needed = await db.fetch(_KEYS["needed_keys"])
    for row in needed:
        await ring.require(row["key_id"])
    if not needed and wants_encryption:
        if has_streams:
            log.warning("encryption_not_enabled", advice="the database is older: run everthread encryption enable")
        else:
            await begin_encryption(db, source, keys, ring=ring)


async def begin_encryption(
    db: Connection, source: EncryptionKeySource, keys: list[bytes], *, ring: KeyRing = RING
) -> None:
    """Begins the first epoch: from now on, all appends encrypt. Makes the key if the data directory has none.

    If another process began it first, its key is the one that counts, and must be in the ring or the source. `keys` are
    those of the source. The role of `db` must own the tables. Raises StartupError, as KeyMissing.
    """

    async def begin() -> None:
        await db.execute(_SQL["lock"])
        if (current := await db.fetchrow(_KEYS["epoch"])) is not None:
            await ring.require(current["key_id"])
            return
        await db.execute(_SQL["refuse_plain"])
        # Another process may have made the key since `keys` were read.
        found = keys or await load_keys(source) or [_make_key(source)]
        ring.add(found)
        await db.fetchval(_SQL["begin"], id_of(found[-1]))

    try:
        await change_tables(db, begin, wait_s=LOCK_WAIT_S, on_wait=_warn_of_wait)
    except asyncpg.LockNotAvailableError as error:
        raise StartupError(
            f"The database cannot be encrypted: other transactions held its tables for {LOCK_WAIT_S:g} s. Try again."
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupError(
            f"The database cannot be encrypted: {error}. The owner of its tables may: everthread encryption enable."
        ) from error


def _make_key(source: EncryptionKeySource) -> bytes:
    secret = add_key(source)
    log.warning("encryption_key_made", file=str(source.path), advice="copy this file: without it, nothing can be read")
    return secret


def _warn_of_wait() -> None:
    log.warning("encryption_waits", advice="a long transaction is at work on the tables")


@dataclass(frozen=True, slots=True)
class KeyEpoch:
    """An epoch of the key-encryption keys, and the number of data keys that its key wraps."""

    epoch: int
    key_id: str
    began_at: datetime
    destroyed_at: datetime | None
    wrapped: int


async def read_epochs(db: Connection) -> list[KeyEpoch]:
    """Returns all epochs, the oldest first; none if the database is not encrypted."""
    return [KeyEpoch(**row) for row in await db.fetch(queries("key_epochs")["epochs"], timeout=STATEMENT_S)]


@dataclass(frozen=True, slots=True)
class EncryptionState:
    """The newest epoch and the id of its key, 0 and "" if the database is not encrypted.

    `plain_streams` are streams of encrypted kinds that have plain events; `older_keys` are keys of streams that the key
    of an older epoch wraps.
    """

    epoch: int
    key_id: str
    plain_streams: int
    older_keys: int

    @property
    def is_encrypted(self) -> bool:
        return self.epoch > 0


async def read_state(db: Connection) -> EncryptionState:
    """Returns how far the database is encrypted."""
    row = await db.fetchrow(_SQL["state"], sorted(SEALED_KINDS), timeout=STATEMENT_S)
    assert row is not None
    return EncryptionState(**row)


async def begin_rotation(
    db: Connection, source: EncryptionKeySource, keys: list[bytes], *, ring: KeyRing = RING
) -> None:
    """Begins an epoch under a new key, unless the one before is not complete yet.

    The new key is made in the data directory's file, or is the last one of the source. Raises CommandError.
    """

    async def begin() -> None:
        await db.execute(_SQL["lock"])
        state = await read_state(db)
        if not state.is_encrypted:
            raise CommandError("The database is not encrypted: run everthread encryption enable.")
        if state.older_keys:
            return
        if source.is_own_file:
            newest = add_key(source)
            ring.add([newest])
        elif id_of(newest := keys[-1]) == state.key_id:
            raise CommandError("The last key is in use already: add a new key behind it, and run the command again.")
        await db.fetchval(_SQL["begin"], id_of(newest))

    await change_tables(db, begin, wait_s=LOCK_WAIT_S, on_wait=_warn_of_wait)


async def begin_epoch(db: Connection, source: EncryptionKeySource, *, min_age_days: int, ring: KeyRing = RING) -> None:
    """Begins an epoch under a key that is made in the data directory's file.

    Begins none if the newest epoch is younger than `min_age_days`: another process has begun it. Raises StartupError.
    """
    async with db.transaction():
        await db.execute(_SQL["lock"])
        current = await db.fetchrow(_SQL["current"], min_age_days)
        if current is None or not current["is_due"]:
            return
        secret = _make_key(source)
        ring.add([secret])
        await db.fetchval(_SQL["begin"], id_of(secret))


async def wrap_again(db: Connection, *, ring: KeyRing = RING) -> AsyncIterator[int]:
    """Wraps the keys that an older epoch wrapped by the key of the newest one. Yields the number of each batch."""
    current = await db.fetchrow(_KEYS["epoch"])
    assert current is not None
    while rows := await db.fetch(_SQL["older_keys"], current["epoch"], WRAPPED_PAGE):
        wrapped = []
        for row in rows:
            name = name_of(row["stream_id"], row["key_id"])
            secret = ring.unwrap(row["wrapped_by"], row["wrapped"], name)
            wrapped.append(ring.wrap(current["key_id"], secret, name))
        ids, key_ids = [row["stream_id"] for row in rows], [row["key_id"] for row in rows]
        await db.execute(_SQL["wrap"], ids, key_ids, wrapped, current["epoch"])
        yield len(rows)
