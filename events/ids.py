"""Ids in the shapes of the original service: a prefix and random base62 (docs/behaviour.md, "Ids").

Ids that clients send are never checked for shape: an unknown one is a 404, never a 400.
"""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ALPHABET = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
_LENGTH = 24
_FILE_LENGTH = 22
# Each byte below 248 = 4 × 62 is a character, all equally likely; the others are left out.
_CHARACTERS = bytes(_ALPHABET[byte % 62] for byte in range(256))
_LEFT_OUT = bytes(range(248, 256))


class _Minting:
    """Ids that follow from a seed. `over` once the work that it is for has ended: tasks that it began outlive it."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counts: dict[str, int] = {}
        self.over = False

    def draw(self, prefix: str) -> bytes:
        count = self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return hashlib.sha512(b"%b %b %d" % (self._seed, prefix.encode(), count)).digest()


_minting: ContextVar[_Minting | None] = ContextVar("minting", default=None)


@contextmanager
def minted_from(seed: bytes) -> Iterator[None]:
    """While it lasts, new ids follow from the seed: the nth of a prefix is the same whenever this is done again."""
    minting = _Minting(seed)
    token = _minting.set(minting)
    try:
        yield
    finally:
        minting.over = True
        _minting.reset(token)


def _determined(prefix: str) -> bytes | None:
    minting = _minting.get()
    return None if minting is None or minting.over else minting.draw(prefix)


def new_id(prefix: str) -> str:
    """A fresh id, for example `new_id("run")` → `run_` and 24 base62 characters (143 random bits)."""
    determined = _determined(prefix)
    # Of 64 bytes fewer than 24 characters are left with a probability below 1e-57.
    drawn = b"" if determined is None else determined.translate(_CHARACTERS, _LEFT_OUT)
    while len(drawn) < _LENGTH:
        drawn += os.urandom(32).translate(_CHARACTERS, _LEFT_OUT)
    return f"{prefix}_{drawn[:_LENGTH].decode()}"


def new_file_id() -> str:
    """`file-` and 22 base62 characters."""
    return _file_id(_determined("file") or os.urandom(64))


def file_id_of(cause: str) -> str:
    """The one id of the file that `cause` brings: asking again names the same file."""
    return _file_id(hashlib.sha512(cause.encode()).digest())


def new_hex_id(prefix: str) -> str:
    """For example `new_hex_id("upload")` → `upload_` and 32 hexadecimal digits."""
    return f"{prefix}_{(_determined(prefix) or os.urandom(16))[:16].hex()}"


def hex_id_of(prefix: str, cause: str) -> str:
    """The one id, of the shape of `new_hex_id`, of what `cause` brings: asking again names the same."""
    return f"{prefix}_{hashlib.sha256(cause.encode()).hexdigest()[:32]}"


def _file_id(drawn: bytes) -> str:
    # 64 bytes leave fewer than 22 characters with a probability below 1e-60.
    return f"file-{drawn.translate(_CHARACTERS, _LEFT_OUT)[:_FILE_LENGTH].decode()}"
