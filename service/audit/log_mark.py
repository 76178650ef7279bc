"""Notices that the database went back to an older state while a process runs, for example after a failover."""

from __future__ import annotations

from service.audit.log_tree import LatestCheckpoint, LogEpoch, LogFault, LogRegression, load_leaf
from sql.connection import Connection

_BACK = "the database went back to an older state"


class LogMark:
    """The end of the log and its newest checkpoint, as this process saw them last. Every process has one."""

    def __init__(self) -> None:
        self._epoch: LogEpoch | None = None
        self._number = -1
        self._leaf = b""
        self._signed = (0, -1)

    async def check(self, db: Connection, epoch: LogEpoch, latest: LatestCheckpoint, size: int) -> None:
        """Compares the log with the mark, and moves the mark to its end. `size` was read after `latest`.

        Raises LogRegression if the log lacks or changed an event that this process has seen, and LogFault if the newest
        checkpoint contradicts the log.
        """
        await self._compare(db, epoch, size)
        if (latest.epoch, latest.size) < self._signed:
            raise LogRegression(
                f"the newest checkpoint is of {latest.size} events, and was of {self._signed[1]}: {_BACK}"
            )
        if latest.note is None and latest.size:
            raise LogFault(f"the newest checkpoint, of {latest.size} events, was deleted")
        if latest.epoch == epoch.epoch and latest.size > size:
            raise LogFault(f"the log has {size} events, and its newest checkpoint is of {latest.size}")
        if latest.epoch > epoch.epoch:
            raise LogFault(f"the newest checkpoint is of epoch {latest.epoch}, and the log of epoch {epoch.epoch}")
        self._signed = (latest.epoch, latest.size)
        self._epoch, self._number = epoch, size - 1
        self._leaf = await load_leaf(db, epoch, size - 1) if size else b""

    async def _compare(self, db: Connection, epoch: LogEpoch, size: int) -> None:
        if self._epoch is None:
            return
        if epoch.epoch < self._epoch.epoch:
            raise LogRegression(f"the log is of epoch {epoch.epoch}, and was of {self._epoch.epoch}: {_BACK}")
        if epoch != self._epoch or not self._leaf:
            return
        if size <= self._number:
            raise LogRegression(f"the log has {size} events, and had {self._number + 1}: {_BACK}")
        if await load_leaf(db, epoch, self._number) != self._leaf:
            raise LogRegression(f"the event {self._number} of the log is another one than before: {_BACK}")
