"""Ids in the shapes of the original service: a prefix and random base62 (docs/behaviour.md, "Ids").

Ids that clients send are never checked for their shape: an unknown id is a 404, never a 400.
"""

from __future__ import annotations

import hashlib
import string
from abc import ABC, abstractmethod

_ALPHABET = (string.digits + string.ascii_uppercase + string.ascii_lowercase).encode()
_LENGTH = 24
_FILE_LENGTH = 22
# Each byte below 248 = 4 × 62 becomes a character, all of them equally likely; the others are skipped. Of 64 random
# bytes fewer than 24 remain with a probability below 1e-57.
_CHARACTERS = bytes(_ALPHABET[byte % 62] for byte in range(256))
_SKIPPED = bytes(range(248, 256))


class IdSource(ABC):
    """A source of new ids. Subclasses supply the bytes; the shapes are the same for all of them."""

    @abstractmethod
    def draw(self, prefix: str) -> bytes:
        """Returns 64 uniformly distributed bytes for the next id that begins with `prefix`."""

    def new(self, prefix: str) -> str:
        """Returns a new id, for example `run_` and 24 base62 characters (143 bits) for the prefix `run`."""
        return f"{prefix}_{_base62(self.draw(prefix), _LENGTH)}"

    def new_file(self) -> str:
        """Returns a new id of a file: `file-` and 22 base62 characters."""
        return f"file-{_base62(self.draw('file'), _FILE_LENGTH)}"

    def token(self, size: int) -> str:
        """Returns `size` bytes (at most 64) as hexadecimal digits, for unique names that are not ids of objects."""
        return self.draw("token")[:size].hex()

    def new_hex(self, prefix: str) -> str:
        """Returns a new id such as `upload_` and 32 hexadecimal digits for the prefix `upload`."""
        return f"{prefix}_{self.draw(prefix)[:16].hex()}"

    def new_salt(self) -> bytes:
        """Returns 32 bytes for the salt of an event's content. A guessable salt would reveal short contents."""
        return self.draw("salt")[:32]

    def new_process(self) -> int:
        """Returns a number for a process of the server: 1 to 2**31 - 1, since Postgres' locks take 32-bit integers."""
        return int.from_bytes(self.draw("process")[:8]) % (2**31 - 1) + 1


class SeededIds(IdSource):
    """Ids that follow from a seed: the nth id with a prefix is the same each time a source is made from that seed.

    A request that carries an Idempotency-Key takes its ids from here, so that its second try names the same objects.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._counts: dict[str, int] = {}

    def draw(self, prefix: str) -> bytes:
        count = self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return hashlib.sha512(b"%b %b %d" % (self._seed, prefix.encode(), count)).digest()


def file_id_of(cause: str) -> str:
    """Returns the id of the file that `cause` leads to: the same cause gives the same id."""
    return f"file-{_base62(hashlib.sha512(cause.encode()).digest(), _FILE_LENGTH)}"


def hex_id_of(prefix: str, cause: str) -> str:
    """Returns an id in the shape of `IdSource.new_hex` that follows from `cause`: the same cause gives the same id."""
    return f"{prefix}_{hashlib.sha256(cause.encode()).hexdigest()[:32]}"


def is_vector_store_id(id: str) -> bool:
    """Returns whether an id is that of a vector store. The server gives all of them, so the prefix is certain."""
    return id.startswith("vs_")


def _base62(drawn: bytes, length: int) -> str:
    return drawn.translate(_CHARACTERS, _SKIPPED)[:length].decode()
