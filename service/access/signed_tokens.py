"""What is handed out for a while, signed: tokens for one thread's streams, links to one file's content.

A token says what it is for, under which API key it was made, and until when; nothing of it is stored. It is good for
its purpose and its object only, and no longer than its API key is. The secrets lie in the database, so that all
processes agree: a new one every ROTATE, and a token names the one that signed it.
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

from events.envelope import now
from events.ids import new_id
from projections.keys import ApiKey
from service.access.keys import Keys
from service.database import Pool
from sql import queries

_SQL = queries("signing")
ROTATE = timedelta(days=30)
MAX_LIFETIME = timedelta(days=7)
# Seconds for which a secret is kept in memory: one that was deleted is good no longer than that.
CACHED = 60.0
MAX_TOKEN = 1024
MAX_SECRETS = 100
_SECRET_BYTES = 32
_HASH_BYTES = 8

Purpose = Literal["stream", "file"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows: under which key, in which version of the API, until when (seconds since 1970)."""

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
    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._keys = keys
        self._secrets: dict[str, _Secret] = {}

    async def sign(self, purpose: Purpose, object_id: str, key: ApiKey, version: str, seconds: int) -> tuple[str, int]:
        """(token, expires_at) for one object, good for so many seconds."""
        expires_at = int(now().timestamp()) + seconds
        said = [object_id, key.id, key.hash[:_HASH_BYTES].hex(), version, expires_at]
        payload = _text(orjson.dumps(said))
        secret = await self._current()
        return f"{secret.id}.{payload}.{_mac(secret, purpose, payload)}", expires_at

    async def check(self, purpose: Purpose, object_id: str, token: str) -> Grant | None:
        """What the token allows with that object; None for one that is wrong, over, or whose key was revoked."""
        parts = token.split(".")
        if len(token) > MAX_TOKEN or len(parts) != 3 or not token.isascii():
            return None
        id, payload, mac = parts
        secret = await self._named(id)
        if secret is None or not hmac.compare_digest(mac, _mac(secret, purpose, payload)):
            return None
        signed_for, key_id, key_hash, version, expires_at = orjson.loads(_bytes(payload))
        if signed_for != object_id or expires_at <= now().timestamp():
            return None
        key = await self._keys.by_id(key_id)
        if key is None or key.hash[:_HASH_BYTES].hex() != key_hash:
            return None
        return Grant(key, version, expires_at)

    async def _current(self) -> _Secret:
        """The newest secret; where that is too old a new one, and the oldest are forgotten."""
        at = now()
        held = max(self._secrets.values(), key=lambda one: one.created_at, default=None)
        if held is not None and held.until > time.monotonic() and held.created_at > at - ROTATE:
            return held
        async with self._pool.acquire() as db:
            row = await db.fetchrow(_SQL["newest"])
            if row is not None and row["created_at"] > at - ROTATE:
                return self._keep(row["id"], row["secret"], row["created_at"])
            id, secret = new_id("sig"), secrets.token_bytes(_SECRET_BYTES)
            await db.execute(_SQL["add"], id, secret, at)
            await db.execute(_SQL["forget"], at - ROTATE - 2 * MAX_LIFETIME)
        return self._keep(id, secret, at)

    async def _named(self, id: str) -> _Secret | None:
        held = self._secrets.get(id)
        if held is not None and held.until > time.monotonic():
            return held
        self._secrets.pop(id, None)
        if "\x00" in id:
            return None
        async with self._pool.acquire() as db:
            row = await db.fetchrow(_SQL["get"], id)
        return None if row is None else self._keep(row["id"], row["secret"], row["created_at"])

    def _keep(self, id: str, secret: bytes, created_at: datetime) -> _Secret:
        if len(self._secrets) >= MAX_SECRETS:
            self._secrets.clear()
        kept = self._secrets[id] = _Secret(id, secret, created_at, time.monotonic() + CACHED)
        return kept


def _mac(secret: _Secret, purpose: Purpose, payload: str) -> str:
    said = f"{purpose}.{secret.id}.{payload}".encode()
    return _text(hmac.digest(secret.secret, said, sha256))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
