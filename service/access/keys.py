"""Whose key a request carries.

A key that was found is kept for TTL seconds, so that most requests ask no database and a revoked key is refused within
a second, by every process. What is looked up and compared is the sha256 of what was sent: whoever measures how long
that takes learns something of a hash that they could compute themselves, and nothing of a key that they lack.

When keys were last used is kept here, and told to the database by one write every LAST_USE_EVERY seconds.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import structlog

from events.api_key import CreateKey, Scope
from events.envelope import now
from events.project import DEFAULT_PROJECT
from projections import keys
from projections.keys import ApiKey
from service.database import DATABASE_ERRORS, Pool

log = structlog.get_logger()

# Seconds. Together with the look itself less than the second within which a revocation holds.
TTL = 0.5
MAX_CACHED = 10_000
LAST_USE_EVERY = 30.0
IDS_PER_LOOK = 1000
WRITE_TIMEOUT = 2.0
_KEY_BYTES = 32
_ENDING = 4


@dataclass(frozen=True, slots=True)
class _Held:
    key: ApiKey
    until: float


class Keys:
    """`api_key` is the server's own: a full key of the default project, which needs no row."""

    def __init__(self, pool: Pool, api_key: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._default = ApiKey("default", DEFAULT_PROJECT, "full", digest_of(api_key))
        self._held: dict[bytes, _Held] = {}
        self._used: dict[str, datetime] = {}
        # What is open under a key, by the key's id: each is told when the key is revoked.
        self._open: dict[str, set[Callable[[], None]]] = {}

    @contextmanager
    def open(self, key: ApiKey, revoked: Callable[[], None]) -> Iterator[None]:
        """While it lasts, `revoked` is called soon after the key was revoked. It must not block."""
        told = self._open.setdefault(key.id, set())
        told.add(revoked)
        try:
            yield
        finally:
            told.discard(revoked)
            if not told and self._open.get(key.id) is told:
                del self._open[key.id]

    async def watch(self) -> None:
        """Looks whether the keys under which something is open are still good, until cancelled."""
        while True:
            await asyncio.sleep(TTL)
            ids = [id for id in self._open if id != self._default.id]
            try:
                for start in range(0, len(ids), IDS_PER_LOOK):
                    await self._end_revoked(ids[start : start + IDS_PER_LOOK])
            except DATABASE_ERRORS as error:
                log.warning("no look at the keys of streams", error=type(error).__name__)

    async def _end_revoked(self, ids: Sequence[str]) -> None:
        async with self._pool.acquire() as db:
            good = await keys.good(db, ids)
        for id in set(ids) - good:
            for revoked in tuple(self._open.get(id, ())):
                revoked()

    async def by_id(self, key_id: str) -> ApiKey | None:
        """The key of that id, or None where there is none or it was revoked: for what was signed under it."""
        if key_id == self._default.id:
            return self._default
        async with self._pool.acquire() as db:
            return await keys.by_id(db, key_id)

    async def find(self, sent: str) -> ApiKey | None:
        """The key that was sent, or None where there is no such key or it was revoked."""
        digest = digest_of(sent)
        if hmac.compare_digest(digest, self._default.hash):
            return self._default
        asked = self._clock()
        held = self._held.get(digest)
        key = held.key if held is not None and asked < held.until else await self._look(digest, asked)
        if key is not None:
            self._used[key.id] = now()
        return key

    async def run(self) -> None:
        """Tells the database of last uses until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(LAST_USE_EVERY)
                await self.tell()
        finally:
            await self.tell()

    async def tell(self) -> None:
        """Writes when keys were last used. Where the database is away they are told the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with asyncio.timeout(WRITE_TIMEOUT), self._pool.acquire() as db:
                await keys.used(db, used)
        except (TimeoutError, *DATABASE_ERRORS) as error:
            log.warning("the last uses of keys are not written", error=type(error).__name__)
            self._used = used | self._used

    async def _look(self, digest: bytes, asked: float) -> ApiKey | None:
        """Looks in the database; what it says holds from when it was asked."""
        async with self._pool.acquire() as db:
            key = await keys.by_hash(db, digest)
        self._held.pop(digest, None)
        if key is None or not hmac.compare_digest(key.hash, digest):
            return None
        if len(self._held) >= MAX_CACHED:
            del self._held[next(iter(self._held))]
        self._held[digest] = _Held(key, asked + TTL)
        return key


def digest_of(key: str) -> bytes:
    """The sha256 of a key, as it is kept; of anything that a header can hold."""
    return sha256(key.encode(errors="surrogateescape")).digest()


def make_key(
    name: str,
    scope: Scope,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_runs: int | None = None,
) -> tuple[str, CreateKey]:
    """A new key of 256 random bits, to be shown once, and the command that makes it good."""
    key = f"et-{secrets.token_urlsafe(_KEY_BYTES)}"
    command = CreateKey(
        name, scope, digest_of(key).hex(), key[-_ENDING:], requests_per_minute, tokens_per_minute, max_runs
    )
    return key, command
