"""Whether an installation is encrypted, and the epochs of its key-encryption keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import asyncpg
import structlog

from service.errors import CommandError, StartupError
from service.secrets.key_ring import RING, KeyMissing, KeyRing, id_of
from service.secrets.key_source import EncryptionKeySource, add_key, load_keys
from service.secrets.stream_keys import name_of
from sql import queries
from sql.connection import Connection
from sql.sealed_columns import SEALED_KINDS

log = structlog.get_logger()

# Keys of streams that one statement wraps again.
WRAPPED_PAGE = 500
# Seconds that a count over all streams may take.
STATEMENT_S = 600.0
_SQL = queries("encryption")
_KEYS = queries("stream_keys")


async def read_keys(source: EncryptionKeySource, *, ring: KeyRing = RING) -> list[bytes]:
    """Returns the key-encryption keys, the newest last, and adds them to the ring. Raises StartupError."""
    keys = await load_keys(source)
    ring.add(keys)
    ring.read = partial(load_keys, source)
    return keys


async def prepare_encryption(
    db: Connection, source: EncryptionKeySource, keys: list[bytes], *, wants_encryption: bool, ring: KeyRing = RING
) -> None:
    """Checks that the keys are those of the database. A new database becomes encrypted if the settings want that.

    Raises StartupError; KeyMissing if the database is encrypted and the key of its newest epoch is missing.
    """
    current = await db.fetchrow(_KEYS["epoch"])
    if current is not None:
        if current["key_id"] not in ring:
            raise KeyMissing(current["key_id"])
    elif wants_encryption:
        if await db.fetchval(_SQL["has_streams"]):
            log.warning("encryption_not_enabled", advice="the database is older: run everthread encryption enable")
        else:
            await begin_encryption(db, source, keys, ring=ring)


async def begin_encryption(
    db: Connection, source: EncryptionKeySource, keys: list[bytes], *, ring: KeyRing = RING
) -> None:
    """Begins the first epoch: from now on, all appends encrypt. Makes the key if the data directory has none.

    `keys` are those of the source. The role of `db` must own the tables. Raises StartupError.
    """
    if not keys:
        keys = [add_key(source)]
        ring.add(keys)
        log.warning(
            "encryption_key_made", file=str(source.path), advice="copy this file: without it, nothing can be read"
        )
    try:
        async with db.transaction():
            await db.execute(_SQL["refuse_plain"])
            await db.fetchval(_SQL["begin"], id_of(keys[-1]))
    except asyncpg.UniqueViolationError:
        current = await db.fetchrow(_KEYS["epoch"])  # another server began it first
        if current is not None and current["key_id"] not in ring:
            raise KeyMissing(current["key_id"]) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise StartupError(
            f"The database cannot be encrypted: {error}. The owner of its tables may: everthread encryption enable."
        ) from error


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
    state = await read_state(db)
    if not state.is_encrypted:
        raise CommandError("The database is not encrypted: run everthread encryption enable.")
    if state.older_keys:
        return
    if source.is_own_file:
        keys = [add_key(source)]
        ring.add(keys)
    elif id_of(keys[-1]) == state.key_id:
        raise CommandError("The last key is in use already: add a new key behind it, and run the command again.")
    await db.fetchval(_SQL["begin"], id_of(keys[-1]))


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
