"""Signs checkpoints of the log: the newest is replaced each second, and one a minute is kept.

Each process has a signer, and the process with the lowest number signs. Another one takes over if events wait too long
for a checkpoint. Two at the same time do no harm: they sign the same tree, and a checkpoint replaces only smaller ones.
A process whose key is not the one in use any more signs nothing (`key_in_use`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from time import monotonic

import structlog

from events.actors import ProcessActor, actor_text
from events.clock import Clock
from events.installation import INSTALLATION_ID
from service.audit.checkpoint import Checkpoint
from service.audit.kept_checkpoints import CheckpointFolder
from service.audit.key_in_use import KeyInUse
from service.audit.log_mark import LogMark
from service.audit.log_tree import (
    LatestCheckpoint,
    LogEpoch,
    LogFault,
    LogRegression,
    grow_edge,
    load_edge,
    load_epoch,
    load_hashes,
    load_latest,
    load_size,
)
from service.audit.merkle import root_nodes, tree_root
from service.audit.notes import FormatError, Note, NoteSignature, SignatureType, VerifierKey
from service.audit.pushes import CheckpointPusher
from service.audit.signing_key import Signer, SigningError
from service.audit.tiles import TreeEdge
from service.database import Pool
from service.processes.orphans import LiveProcesses
from service.processes.scan_loop import ScanLoop
from sql import queries
from sql.connection import Connection

log = structlog.get_logger()

SIGN_EVERY_S = 1.0
KEEP_EVERY_S = 60.0
# Another process takes over if no checkpoint was signed for so many seconds although there are new events.
BYPASS_AFTER_S = 3.0
# /healthz reports a problem after so many seconds.
MAX_UNSIGNED_S = 10.0

_SQL = queries("log_tree")


class CheckpointSigner:
    """Signs the checkpoints of this process as long as `run` runs."""

    def __init__(
        self,
        pool: Pool,
        processes: LiveProcesses,
        signer: Signer,
        *,
        clock: Clock,
        folder: CheckpointFolder,
        on_regression: Callable[[str], None] = lambda reason: None,
        pusher: CheckpointPusher | None = None,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """Calls `on_regression` with the reason if the database goes back to an older state while this process runs."""
        self._on_regression = on_regression
        self._mark = LogMark()
        self._has_regressed = False
        self._pool = pool
        self._processes = processes
        self._signer = signer
        self._clock = clock
        self._folder = folder
        self._pusher = pusher or CheckpointPusher(())
        self._now = monotonic
        self._loop = ScanLoop("checkpoints", every_s=SIGN_EVERY_S)
        self._tree: tuple[LogEpoch, TreeEdge] | None = None
        self._kept_at: datetime | None = None
        self._kept_size = 0
        self._problem: str | None = None
        self._key_in_use = KeyInUse()
        self._is_superseded = False
        self._seen_size = -1
        self._advanced_at = self._now()

    async def check_health(self) -> str | None:
        """Returns None if checkpoints are signed in time, else one line with the reason."""
        if self._problem is not None:
            return f"no checkpoint is signed: {self._problem}"
        if self._is_superseded:
            return "this process signs no checkpoint: a server with another key started on this database"
        waited = self._now() - self._advanced_at
        return None if waited <= MAX_UNSIGNED_S else f"events have waited for {waited:.0f} s for a signed checkpoint"

    async def run(self) -> None:
        """Signs until cancelled."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Signs a checkpoint if the log has grown and this process is the one to sign.

        Signs nothing any more after the database went back to an older state.
        """
        if self._has_regressed:
            return
        async with self._pool.acquire() as db:
            epoch = await load_epoch(db)
            latest, size = await load_latest(db), await load_size(db, epoch)
            self._watch(latest, size)
            try:
                await self._mark.check(db, epoch, latest, size)
                await self._update_key(db, epoch)
                if self._is_due():
                    await self._extend(db, epoch, latest)
            except (LogFault, SigningError) as error:
                self._report(error)
            else:
                self._problem = None

    def _report(self, error: LogFault | SigningError) -> None:
        if self._problem != str(error):
            log.error("checkpoint_not_signed", error=str(error))
        self._problem = str(error)
        if isinstance(error, LogRegression):
            self._has_regressed = True
            self._on_regression(str(error))

    def _watch(self, latest: LatestCheckpoint, size: int) -> None:
        if latest.size > self._seen_size or latest.size >= size:
            self._advanced_at = self._now()
        self._seen_size = latest.size

    async def _update_key(self, db: Connection, epoch: LogEpoch) -> None:
        """Finds out if the key of this process is still the one in use."""
        await self._key_in_use.update(db)
        is_superseded = self._key_in_use.is_other_than(self._signer.public_key)
        if is_superseded and not self._is_superseded:
            log.warning("log_key_superseded", origin=epoch.origin, by=self._key_in_use.actor)
        self._is_superseded = is_superseded

    def _is_due(self) -> bool:
        if self._is_superseded:
            return False
        # The process with the lowest number may have a key that is not in use any more.
        leads = self._processes.process == min(self._processes.live) or self._has_recorded_key
        return leads or self._now() - self._advanced_at > BYPASS_AFTER_S

    @property
    def _has_recorded_key(self) -> bool:
        return self._key_in_use.actor == actor_text(ProcessActor(self._processes.process))

    def _is_ours(self, epoch: LogEpoch, latest: LatestCheckpoint) -> bool:
        """Says if a signature line of the newest checkpoint names the key of this process."""
        key = verifier_key(epoch, self._signer)
        try:
            signatures = Note.parse(latest.note or "").signatures
        except FormatError:
            return False
        return any((line.name, line.key_id) == (key.name, key.id) for line in signatures)

    async def _extend(self, db: Connection, epoch: LogEpoch, latest: LatestCheckpoint) -> None:
        """Signs a checkpoint of the whole log.

        Raises LogFault if it would contradict an earlier one, and SigningError.
        """
        if self._tree is None or self._tree[0] != epoch:
            edge = await load_edge(db, epoch)
            await _check_extends(db, epoch, latest)
            self._tree = epoch, edge
        edge = self._tree[1]
        await grow_edge(db, epoch, edge)
        is_foreign = latest.epoch == epoch.epoch and not self._is_ours(epoch, latest)
        if is_foreign:
            await _check_extends(db, epoch, latest)
        if latest.epoch == epoch.epoch and edge.size <= latest.size and not is_foreign:
            if latest.note is not None and self._is_ours(epoch, latest):
                await self._keep(db, epoch, latest.size, Note.parse(latest.note), self._clock.now(), is_new=False)
            return
        key = verifier_key(epoch, self._signer)
        text = Checkpoint(epoch.origin, edge.size, edge.root()).text
        note = Note(text, (NoteSignature.of(key, await self._signer.sign(text.encode())),))
        now = self._clock.now()
        version = self._key_in_use.version
        replaced = await db.fetchval(
            _SQL["replace_latest"], epoch.epoch, edge.size, now, str(note), is_foreign, INSTALLATION_ID, version
        )
        if replaced is None:
            return  # another process has signed more, or has recorded another key
        if is_foreign:
            await self._publish_key(epoch)
        await self._keep(db, epoch, edge.size, note, now)

    def _read_folder_size(self, epoch: LogEpoch) -> int:
        """Returns the size of the checkpoint that the folder keeps of this epoch, 0 if it has none. Blocks."""
        try:
            text = self._folder.read_latest()
            kept = None if text is None else Checkpoint.parse(Note.parse(text).text)
        except (OSError, FormatError) as error:
            log.error("checkpoint_not_read", path=str(self._folder.latest_path), error=str(error))
            return 0
        return kept.size if kept is not None and kept.origin == epoch.origin else 0

    async def _has_larger_kept(self, db: Connection, epoch: LogEpoch, size: int) -> bool:
        """Says if another process kept a larger checkpoint meanwhile, which must stay the newest of the folder.

        Raises LogRegression if the log does not have its events: the other process saw a newer state of the database.
        """
        kept = await asyncio.to_thread(self._read_folder_size, epoch)
        if kept <= size:
            return False
        # The log may have grown since this process read it: what it has is read after the checkpoint.
        now = await load_size(db, epoch)
        if now < kept:
            reason = f"the log has {now} events, and a checkpoint of {kept} was kept"
            raise LogRegression(f"{reason}: the database went back to an older state")
        return True

    async def _keep(
        self, db: Connection, epoch: LogEpoch, size: int, note: Note, now: datetime, *, is_new: bool = True
    ) -> None:
        """Keeps the checkpoint if KEEP_EVERY_S seconds have passed since the last one.

        One that is not new, since the log has not grown, is kept only if it is larger than the last one.
        """
        if self._kept_at is None and (row := await db.fetchrow(_SQL["last_kept"], epoch.epoch)) is not None:
            # A clock that was ahead keeps no checkpoint from being kept.
            self._kept_at, self._kept_size = min(row["at"], now), row["size"]
        if not is_new and size <= self._kept_size:
            return
        if size == 0 or (self._kept_at is not None and (now - self._kept_at).total_seconds() < KEEP_EVERY_S):
            return
        if await self._has_larger_kept(db, epoch, size):
            self._kept_at = now
            return
        await db.execute(_SQL["keep"], epoch.epoch, size, now, str(note))
        self._kept_at, self._kept_size = now, size
        self._pusher.push(epoch.origin, size, note)
        await self._publish_key(epoch)
        try:
            await asyncio.to_thread(self._folder.keep, note, now)
        except OSError as error:
            log.error("checkpoint_not_kept", folder=str(self._folder.path), error=error.strerror)

    async def _publish_key(self, epoch: LogEpoch) -> None:
        try:
            await asyncio.to_thread(self._folder.publish_key, verifier_key(epoch, self._signer))
        except OSError as error:
            log.error("log_key_not_published", folder=str(self._folder.path), error=error.strerror)


def verifier_key(epoch: LogEpoch, signer: Signer) -> VerifierKey:
    """Returns the public key of the log, under the name of the epoch."""
    return VerifierKey(epoch.origin, SignatureType.LOG, signer.public_key)


async def _check_extends(db: Connection, epoch: LogEpoch, latest: LatestCheckpoint) -> None:
    """Raises LogFault if the log does not begin with the log of the newest checkpoint."""
    if latest.epoch != epoch.epoch or latest.note is None:
        return
    try:
        signed = Checkpoint.parse(Note.parse(latest.note).text)
    except FormatError as error:
        raise LogFault(f"the newest checkpoint cannot be read: {error}") from None
    hashes = await load_hashes(db, epoch, root_nodes(latest.size), latest.size)
    if (signed.origin, signed.size, signed.root) != (epoch.origin, latest.size, tree_root(latest.size, hashes)):
        raise LogFault(f"the log does not begin with the {latest.size} events of its newest checkpoint")
