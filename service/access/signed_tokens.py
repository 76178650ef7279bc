"""Signed tokens of limited life: for the streams of one thread, for links to the content of one file, and for sessions
of the console.

A token holds its object, the API key it was made under, its time of expiry and a random number, so that no two are
equal: each has its own limit of open streams. The server stores none of it. It is valid for one purpose and one
object, and not longer than its API key. The signing secrets are in the database, so all processes accept each other's
tokens. A new secret is made every ROTATE, and a token names the secret that signed it.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

import orjson

from events.clock import Clock
from events.ids import IdSource
from projections.keys import ApiKey
from service.access.keys import Keys
from service.database import Pool
from sql import queries
from sql.shared_keys import seal_shared

_SQL = queries("signing")
ROTATE = timedelta(days=30)
MAX_LIFETIME = timedelta(days=7)
# A secret that is deleted from the database stays valid in other processes for this long.
CACHE_S = 60.0
MAX_TOKEN = 1024
MAX_SECRETS = 100
_SECRET_BYTES = 32
_HASH_BYTES = 8
_NONCE_BYTES = 9

# "session" is that of a cookie of the console, "link" that of a link that signs in.
Purpose = Literal["stream", "file", "session", "link"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A token's permission: the API key it acts for, the API version, and `expires_at` in Unix seconds."""

    key: ApiKey
    version: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Secret:
    id: str
    secret: bytes
    created_at: datetime
    until: float


class Signer:
    """Signs tokens, and checks them with the secrets in the database."""

    def __init__(self, pool: Pool, keys: Keys, *, clock: Clock, ids: IdSource) -> None:
        self._pool = pool
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._secrets: dict[str, _Secret] = {}

    async def sign(self, purpose: Purpose, object_id: str, key: ApiKey, version: str, seconds: int) -> tuple[str, int]:
        """Returns (token, expires_at in Unix seconds). The token is valid for `seconds`, for this object only."""
        expires_at = int(self._clock.now().timestamp()) + seconds
        nonce = self._ids.token(_NONCE_BYTES)
        claims = [object_id, key.id, key.hash[:_HASH_BYTES].hex(), version, expires_at, nonce]
        payload = _text(orjson.dumps(claims))
        secret = await self._current()
        return f"{secret.id}.{payload}.{_mac(secret, purpose, payload)}", expires_at

    async def check(self, purpose: Purpose, object_id: str, token: str) -> Grant | None:
        """Returns the token's grant for the object, or None if it is forged, expired, or its API key was revoked."""
        parts = token.split(".")
        if len(token) > MAX_TOKEN or len(parts) != 3 or not token.isascii():
            return None
        id, payload, mac = parts
        secret = await self._find(id)
        if secret is None or not hmac.compare_digest(mac, _mac(secret, purpose, payload)):
            return None
        signed_for, key_id, key_hash, version, expires_at, *_nonce = orjson.loads(_bytes(payload))
        if signed_for != object_id or expires_at <= self._clock.now().timestamp():
            return None
        key = await self._keys.by_id(key_id)
        if key is None or key.hash[:_HASH_BYTES].hex() != key_hash:
            return None
        return Grant(key, version, expires_at)

    async def _current(self) -> _Secret:
        """Returns the newest secret. If it is older than ROTATE, makes a new one and deletes the oldest."""
        at = self._clock.now()
        newest = max(self._secrets.values(), key=lambda secret: secret.created_at, default=None)
        if newest is not None and newest.until > time.monotonic() and newest.created_at > at - ROTATE:
            return newest
        async with self._pool.acquire() as db:
            row = await db.fetchrow(_SQL["newest"])
            if row is not None and row["created_at"] > at - ROTATE:
                return self._keep(row["id"], row["secret"], row["created_at"])
            id, secret = self._ids.new("sig"), secrets.token_bytes(_SECRET_BYTES)
            await db.execute(_SQL["add"], id, await seal_shared(db, "signing_keys", id, "secret", secret), at)
            await db.execute(_SQL["forget"], at - ROTATE - 2 * MAX_LIFETIME)
        return self._keep(id, secret, at)

    async def _find(self, id: str) -> _Secret | None:
        cached = self._secrets.get(id)
        if cached is not None and cached.until > time.monotonic():
            return cached
        self._secrets.pop(id, None)
        if "\x00" in id:
            return None
        async with self._pool.acquire() as db:
            row = await db.fetchrow(_SQL["get"], id)
        return None if row is None else self._keep(row["id"], row["secret"], row["created_at"])

    def _keep(self, id: str, secret: bytes, created_at: datetime) -> _Secret:
        if len(self._secrets) >= MAX_SECRETS:
            self._secrets.clear()
        kept = self._secrets[id] = _Secret(id, secret, created_at, time.monotonic() + CACHE_S)
        return kept


def _mac(secret: _Secret, purpose: Purpose, payload: str) -> str:
    message = f"{purpose}.{secret.id}.{payload}".encode()
    return _text(hmac.digest(secret.secret, message, sha256))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
