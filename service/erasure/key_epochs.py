"""Begins an epoch of the key-encryption keys from time to time, wraps the data keys again, and destroys old keys.

Every process does this, and each step can be repeated, so a process may die at any moment. The data keys of a backup
are wrapped by the keys of its time, so that a backup becomes unreadable when they are destroyed.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from events.actors import ProcessActor
from events.envelope import Origin
from events.installation import INSTALLATION_PROJECT, RecordActs
from events.key_epochs import KeyEpochBegun, KeyEpochDestroyed
from service.audit.acts import write_installation
from service.errors import StartupError
from service.processes.scan_loop import ScanLoop
from service.secrets.encryption import begin_epoch, wrap_again
from service.secrets.key_ring import RING, KeyRing, id_of
from service.secrets.key_source import EncryptionKeySource, load_keys, remove_key
from service.writer import Writer
from sql import queries

log = structlog.get_logger()

# Seconds between two looks of a process.
SCAN_EVERY_S = 3600.0
RETRY_S = 60.0
# The advisory lock of the process that writes events of epochs.
EPOCH_LOCK = 0x4556_5445_504F_4348
_SQL = queries("key_epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRules:
    """When epochs begin and end. `epoch_days` is 0 if none begins by itself; `term_days` count from an epoch's end.

    `makes_keys` if the file of the data directory is the only place of the keys, so that a server may add and remove
    some.
    """

    epoch_days: int
    term_days: int
    makes_keys: bool


class KeyEpochs:
    """The epochs of one installation. `process` is this process's number among its peers."""

    def __init__(
        self, writer: Writer, source: EncryptionKeySource, rules: EpochRules, *, process: int, ring: KeyRing = RING
    ) -> None:
        self._writer = writer
        self._source = source
        self._rules = rules
        self._ring = ring
        self._origin = Origin(INSTALLATION_PROJECT, ProcessActor(process))
        self._loop = ScanLoop("key_epochs", every_s=SCAN_EVERY_S, retry_s=RETRY_S, expected=(StartupError, OSError))

    async def run(self) -> None:
        """Looks again and again until it is cancelled."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Does what is due. Raises the errors of the database, StartupError and OSError."""
        if not await self._begin():
            return
        await self._announce()
        async with self._writer.pool.acquire() as db:
            async for _ in wrap_again(db, ring=self._ring):
                pass
        await self._destroy()
        async with self._writer.pool.acquire() as db:
            for row in await db.fetch(_SQL["destroyed_keys"]):
                self._ring.remove(row["key_id"])

    async def _begin(self) -> bool:
        """Begins an epoch if one is due. Returns whether the installation is encrypted."""
        async with self._writer.pool.acquire() as db:
            newest = await db.fetchrow(_SQL["is_due"], self._rules.epoch_days)
            if newest is None:
                return False
            await self._ring.require(newest["key_id"])
            if self._rules.makes_keys and self._rules.epoch_days and newest["is_due"]:
                await begin_epoch(db, self._source, min_age_days=self._rules.epoch_days, ring=self._ring)
        return True

    async def _announce(self) -> None:
        async with self._writer.pool.acquire() as db, db.transaction():
            if not await db.fetchval(_SQL["try_lock"], EPOCH_LOCK):
                return
            epochs = await db.fetch(_SQL["unannounced"])
            if epochs:
                acts = tuple(KeyEpochBegun(epoch=row["epoch"], key_id=row["key_id"]) for row in epochs)
                await write_installation(self._writer, self._origin, RecordActs(acts))
                await db.execute(_SQL["mark_announced"], [row["epoch"] for row in epochs])

    async def _destroy(self) -> None:
        """Destroys the keys whose term is over: the event comes first, then the key, then the mark."""
        async with self._writer.pool.acquire() as db, db.transaction():
            if not await db.fetchval(_SQL["try_lock"], EPOCH_LOCK):
                return
            due = await db.fetch(_SQL["due_for_destruction"], self._rules.term_days)
            given = {id_of(key) for key in await load_keys(self._source)} if due else set()
            for row in due:
                epoch, key_id = row["epoch"], row["key_id"]
                if key_id in given and not self._rules.makes_keys:
                    log.warning("encryption_key_outlived", key=key_id, advice="its term is over: remove it everywhere")
                    continue
                act = KeyEpochDestroyed(epoch=epoch, key_id=key_id)
                await write_installation(self._writer, self._origin, RecordActs((act,)))
                if self._rules.makes_keys:
                    remove_key(self._source, key_id)
                await db.execute(_SQL["mark_destroyed"], epoch)
                log.warning("encryption_key_destroyed", key=key_id, epoch=epoch)
