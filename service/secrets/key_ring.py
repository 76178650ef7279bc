"""The key-encryption keys that this process was given, and the wrapping of data keys by them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from time import monotonic

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.errors import StartupError
from sql.seals import KEY_BYTES, NONCE_BYTES

log = structlog.get_logger()

_ID_DOMAIN = b"everthread/key-encryption-key/1\n"
_WRAP_DOMAIN = b"everthread/wrapped-key/1\n"
_ID_DIGITS = 16
# Seconds between two readings of the keys because one is missing.
READ_EVERY_S = 10.0


class KeyMissing(StartupError):
    """The key-encryption key that a value needs is not among those that this process was given."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"The database is encrypted, and its key {key_id} is missing: put back the file audit/encryption_keys of"
            " the data directory, or set EVERTHREAD_KEY_FILE, EVERTHREAD_KEY or EVERTHREAD_KEY_COMMAND."
        )
        self.key_id = key_id


def id_of(secret: bytes) -> str:
    """Returns the id of a key-encryption key: the beginning of its hash, in hexadecimal digits."""
    return sha256(_ID_DOMAIN + secret).hexdigest()[:_ID_DIGITS]


class KeyRing:
    """Key-encryption keys by their ids: the current one, and older ones until nothing is wrapped by them."""

    def __init__(self) -> None:
        self._read: Callable[[], Awaitable[Iterable[bytes]]] | None = None
        self._reading = asyncio.Lock()
        self._next_read = 0.0
        self._secrets: dict[str, bytes] = {}
        self._ciphers: dict[str, AESGCM] = {}

    def read_from(self, read: Callable[[], Awaitable[Iterable[bytes]]]) -> None:
        """Sets the function that reads the keys again if one is missing, since a rotation may have added it."""
        self._read = read
        self._reading = asyncio.Lock()
        self._next_read = 0.0

    def add(self, secrets: Iterable[bytes]) -> None:
        """Adds keys of KEY_BYTES bytes."""
        for secret in secrets:
            id = id_of(secret)
            self._secrets[id] = secret
            self._ciphers[id] = AESGCM(secret)

    def remove(self, key_id: str) -> None:
        """Drops a key that is destroyed."""
        self._secrets.pop(key_id, None)
        self._ciphers.pop(key_id, None)

    def secrets(self) -> list[bytes]:
        """Returns all keys, for a child process."""
        return list(self._secrets.values())

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._ciphers

    async def require(self, key_id: str) -> None:
        """Returns if the ring has the key. Reads the keys again if it has not; callers wait for the same reading.

        Raises KeyMissing, also if the keys cannot be read.
        """
        if key_id in self:
            return
        if self._read is not None:
            async with self._reading:
                if key_id not in self and monotonic() >= self._next_read:
                    await self._read_again(self._read)
        if key_id not in self:
            raise KeyMissing(key_id)

    async def _read_again(self, read: Callable[[], Awaitable[Iterable[bytes]]]) -> None:
        try:
            self.add(await read())
        except StartupError as error:
            log.warning("encryption_keys_not_read", error=str(error))
        # Not after a cancellation: then the next caller reads.
        self._next_read = monotonic() + READ_EVERY_S

    def wrap(self, key_id: str, secret: bytes, name: str) -> bytes:
        """Returns a secret encrypted by a key of the ring; it opens only under the same name. Raises KeyMissing."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(key_id).encrypt(nonce, secret, _WRAP_DOMAIN + name.encode())

    def unwrap(self, key_id: str, wrapped: bytes, name: str) -> bytes:
        """Returns a secret that `wrap` encrypted. Raises KeyMissing, and ValueError if it was changed or moved."""
        try:
            nonce, ciphertext = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
            return self._cipher(key_id).decrypt(nonce, ciphertext, _WRAP_DOMAIN + name.encode())
        except InvalidTag:
            raise ValueError(f"the wrapped key of {name} was changed") from None

    def _cipher(self, key_id: str) -> AESGCM:
        try:
            return self._ciphers[key_id]
        except KeyError:
            raise KeyMissing(key_id) from None


# The keys of this process. Programs add them at their start (`service.secrets.key_source`).
RING = KeyRing()


def new_secret() -> bytes:
    """Returns a new random key of KEY_BYTES bytes."""
    return AESGCM.generate_key(8 * KEY_BYTES)
