"""API keys: finds the key that a request carries, and notices when a key is revoked.

A key is cached for CACHE_S seconds, so most requests need no query and every process refuses a revoked key within a
second. Keys are stored, looked up and compared by their SHA-256, so the time of a comparison reveals nothing about a
key that the client does not have.

The time of each key's last use is collected in memory and written to the database every LAST_USE_EVERY_S seconds.
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
from events.clock import Clock
from events.project import DEFAULT_PROJECT
from projections import keys
from projections.keys import ApiKey
from service.database import DATABASE_ERRORS, Pool

log = structlog.get_logger()

# This time plus one query stays below the second within which a revocation takes effect everywhere.
CACHE_S = 0.5
MAX_CACHED = 10_000
LAST_USE_EVERY_S = 30.0
IDS_PER_QUERY = 1000
WRITE_TIMEOUT_S = 2.0
_KEY_BYTES = 32
_ENDING = 4


@dataclass(frozen=True, slots=True)
class _CachedKey:
    key: ApiKey
    until: float


class Keys:
    """Finds API keys, caches them, and records their last use.

    `api_key` is the server's own key: it has the scope `admin` in the default project, and no row in the database.
    `timer` returns seconds that never go backwards.
    """

    def __init__(self, pool: Pool, api_key: str, *, clock: Clock, timer: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._timer = timer
        self._default = ApiKey("default", DEFAULT_PROJECT, "admin", digest_of(api_key))
        self._cached: dict[bytes, _CachedKey] = {}
        self._last_uses: dict[str, datetime] = {}
        # Callbacks by key id: each is called when its key is revoked.
        self._watched: dict[str, set[Callable[[], None]]] = {}

    @property
    def server_key(self) -> ApiKey:
        """The server's own key."""
        return self._default

    @contextmanager
    def watch_revocation(self, key: ApiKey, on_revocation: Callable[[], None]) -> Iterator[None]:
        """Calls `on_revocation` within a second if the key is revoked while the context is open. It must not block."""
        callbacks = self._watched.setdefault(key.id, set())
        callbacks.add(on_revocation)
        try:
            yield
        finally:
            callbacks.discard(on_revocation)
            if not callbacks and self._watched.get(key.id) is callbacks:
                del self._watched[key.id]

    async def run_revocation_watch(self) -> None:
        """Checks every CACHE_S seconds whether the watched keys are still valid, until it is cancelled."""
        while True:
            await asyncio.sleep(CACHE_S)
            ids = [id for id in self._watched if id != self._default.id]
            try:
                for start in range(0, len(ids), IDS_PER_QUERY):
                    await self.report_revocations(ids[start : start + IDS_PER_QUERY])
            except DATABASE_ERRORS as error:
                log.warning("key_revocation_check_failed", error=type(error).__name__)

    async def report_revocations(self, ids: Sequence[str]) -> None:
        """Calls the callbacks of those of the keys that are revoked."""
        async with self._pool.acquire() as db:
            valid = await keys.find_valid(db, ids)
        for id in set(ids) - valid:
            for on_revocation in tuple(self._watched.get(id, ())):
                on_revocation()

    async def by_id(self, key_id: str) -> ApiKey | None:
        """Returns the key with that id, or None if it does not exist or was revoked. Signed tokens name keys by id."""
        if key_id == self._default.id:
            return self._default
        async with self._pool.acquire() as db:
            return await keys.find_by_id(db, key_id)

    async def find(self, sent: str) -> ApiKey | None:
        """Returns the API key whose secret is `sent`, or None if there is no such key or it was revoked."""
        key = self.find_cached(sent) or await self._load(digest_of(sent), self._timer())
        if key is not None and key is not self._default:
            self._last_uses[key.id] = self._clock.now()
        return key

    def find_cached(self, sent: str) -> ApiKey | None:
        """Returns the API key whose secret is `sent`, or None if that takes a query."""
        digest = digest_of(sent)
        if hmac.compare_digest(digest, self._default.hash):
            return self._default
        cached = self._cached.get(digest)
        if cached is None or self._timer() >= cached.until:
            return None
        self._last_uses[cached.key.id] = self._clock.now()
        return cached.key

    async def run(self) -> None:
        """Writes the times of last use every LAST_USE_EVERY_S seconds until it is cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(LAST_USE_EVERY_S)
                await self.write_last_uses()
        finally:
            await self.write_last_uses()

    async def write_last_uses(self) -> None:
        """Writes the times of last use to the database. If the database does not answer, they are kept for later."""
        used, self._last_uses = self._last_uses, {}
        if not used:
            return
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S), self._pool.acquire() as db:
                await keys.record_last_uses(db, used)
        except (TimeoutError, *DATABASE_ERRORS) as error:
            log.warning("key_last_use_write_failed", error=type(error).__name__)
            self._last_uses = used | self._last_uses

    async def _load(self, digest: bytes, asked: float) -> ApiKey | None:
        """Reads the key from the database. The answer is cached from `asked` on, the moment before the query."""
        async with self._pool.acquire() as db:
            key = await keys.find_by_hash(db, digest)
        self._cached.pop(digest, None)
        if key is None or not hmac.compare_digest(key.hash, digest):
            return None
        if len(self._cached) >= MAX_CACHED:
            del self._cached[next(iter(self._cached))]
        self._cached[digest] = _CachedKey(key, asked + CACHE_S)
        return key


def digest_of(key: str) -> bytes:
    """Returns the SHA-256 under which a key is stored. Accepts any text that a header can hold."""
    return sha256(key.encode(errors="surrogateescape")).digest()


def make_key(
    name: str,
    scope: Scope,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_runs: int | None = None,
) -> tuple[str, CreateKey]:
    """Returns a new key of 256 random bits, and the command that creates it. The key itself is stored nowhere."""
    key = f"et-{secrets.token_urlsafe(_KEY_BYTES)}"
    command = CreateKey(
        name=name,
        scope=scope,
        hash=digest_of(key).hex(),
        ending=key[-_ENDING:],
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_runs=max_runs,
    )
    return key, command
