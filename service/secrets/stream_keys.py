"""The data keys of streams, as the connections of a pool use them: unwrapped, and kept for a while."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Mapping
from math import inf
from time import monotonic
from typing import Any

from service.secrets.key_ring import RING, KeyRing, new_secret
from sql import queries
from sql.connection import Connection, WritingKey
from sql.row_operations import RowOperation
from sql.seals import KEY_ID_BYTES, StreamKey

# Bytes of all kept keys together, by an estimate of the memory of one.
MAX_BYTES = 8 * 1024**2
_BYTES_PER_KEY = 800
# Seconds for which a key is used without another look. So late may a process still open what another one has erased.
KEPT_S = 60.0
# Seconds for which a key that this process makes is not kept unless `keep` says that it is stored: the transaction that
# stores it may be rolled back. Longer than a transaction may take.
UNCERTAIN_S = 3600.0
# Streams with such keys. If there are more, no key that a transaction finds is kept until the dropped ones are certain.
MAX_UNCERTAIN = 10_000

_SQL = queries("stream_keys")


class StreamKeys:
    """The keys of the streams of one database."""

    def __init__(self, ring: KeyRing = RING, *, max_bytes: int = MAX_BYTES) -> None:
        self._ring = ring
        self._max = max(1, max_bytes // _BYTES_PER_KEY)
        self._kept: OrderedDict[str, tuple[float, StreamKey]] = OrderedDict()
        # The streams that got a key in a transaction of this process, each with the time until which that is uncertain.
        self._uncertain: OrderedDict[str, float] = OrderedDict()
        # The time until which a stream that is not in it may be uncertain too, since there were too many.
        self._all_uncertain_until = 0.0
        # The newest epoch with the id of its key, or None if nothing is encrypted; and the time until which it is
        # used without another look.
        self._epoch: tuple[int, str] | None = None
        self._epoch_until = 0.0

    def __len__(self) -> int:
        return len(self._kept)

    async def find(self, db: Connection, stream_ids: Collection[str]) -> Mapping[str, StreamKey]:
        """Returns the keys of those streams that have one. Raises KeyMissing, and ValueError if one was changed."""
        now, found, missing = monotonic(), dict[str, StreamKey](), list[str]()
        for id in stream_ids:
            kept = self._kept.get(id)
            if kept is not None and now < kept[0]:
                self._kept.move_to_end(id)
                found[id] = kept[1]
            else:
                missing.append(id)
        if missing:
            for row in await db.fetch(_SQL["find"], missing):
                await self._ring.require(row["wrapped_by"])
                key = self._unwrap(row)
                found[key.stream_id] = key
                # Outside a transaction, a row that is found is committed.
                if not db.is_in_transaction() or now >= self._uncertain.get(key.stream_id, self._all_uncertain_until):
                    self._keep(key)
        return found

    async def for_writing(self, db: Connection, stream_id: str, *, is_new: bool) -> WritingKey | None:
        """Returns the key for an append to the stream, with the operation that stores it if the stream has none.

        Returns None if nothing is encrypted. A stream that `is_new` has no key yet. Raises as `find`.
        """
        epoch = await self._newest_epoch(db)
        if epoch is None:
            return None
        if not is_new and (key := (await self.find(db, [stream_id])).get(stream_id)) is not None:
            return WritingKey(key, None)
        number, wrapped_by = epoch
        await self._ring.require(wrapped_by)
        key_id, secret = os.urandom(KEY_ID_BYTES), new_secret()
        wrapped = self._ring.wrap(wrapped_by, secret, name_of(stream_id, key_id.hex()))
        operation = RowOperation("stream_keys.insert", (stream_id, key_id.hex(), number, wrapped))
        self._mark_uncertain(stream_id)
        return WritingKey(StreamKey(stream_id, key_id, secret), operation)

    async def is_on(self, db: Connection) -> bool:
        """Whether new rows are encrypted."""
        return await self._newest_epoch(db) is not None

    def keep(self, key: StreamKey) -> None:
        """Keeps a new key, whose row is committed now."""
        self._uncertain.pop(key.stream_id, None)
        self._keep(key)

    def _keep(self, key: StreamKey) -> None:
        """Keeps a key. If there are too many, those that were not used for longest are dropped."""
        self._kept[key.stream_id] = monotonic() + KEPT_S, key
        self._kept.move_to_end(key.stream_id)
        while len(self._kept) > self._max:
            self._kept.popitem(last=False)

    def forget(self, stream_id: str) -> None:
        """Drops the key of a stream: the database may have another one, or none."""
        self._kept.pop(stream_id, None)

    def drop_new(self, stream_id: str) -> None:
        """Drops the note about a new key of a stream, whose row is rolled back now."""
        self._uncertain.pop(stream_id, None)

    def ask_again(self) -> None:
        """Lets the next append read the newest epoch again."""
        self._epoch_until = 0.0

    async def check(self, db: Connection) -> None:
        """Raises KeyMissing if a key-encryption key of the database is missing: the newest, or one that is in use."""
        for row in await db.fetch(_SQL["needed_keys"]):
            await self._ring.require(row["key_id"])

    def _mark_uncertain(self, stream_id: str) -> None:
        now = monotonic()
        self._kept.pop(stream_id, None)
        self._uncertain[stream_id] = now + UNCERTAIN_S
        self._uncertain.move_to_end(stream_id)
        while next(iter(self._uncertain.values())) <= now:
            self._uncertain.popitem(last=False)
        while len(self._uncertain) > MAX_UNCERTAIN:
            self._all_uncertain_until = self._uncertain.popitem(last=False)[1]

    async def _newest_epoch(self, db: Connection) -> tuple[int, str] | None:
        if monotonic() >= self._epoch_until:
            row = await db.fetchrow(_SQL["epoch"])
            self._epoch = None if row is None else (row["epoch"], row["key_id"])
            # A plain append to an encrypted database is refused, and `ask_again` follows.
            self._epoch_until = inf if row is None else monotonic() + KEPT_S
        return self._epoch

    def _unwrap(self, row: Mapping[str, Any]) -> StreamKey:
        stream_id, key_id = row["stream_id"], row["key_id"]
        secret = self._ring.unwrap(row["wrapped_by"], row["wrapped"], name_of(stream_id, key_id))
        return StreamKey(stream_id, bytes.fromhex(key_id), secret)


def name_of(stream_id: str, key_id: str) -> str:
    """Returns the name under which the key of a stream is wrapped."""
    return f"{stream_id}\n{key_id}"
