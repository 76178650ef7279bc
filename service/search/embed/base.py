"""What indexing and search ask of an embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Vector = Sequence[float]


class EmbeddingError(Exception):
    """The texts cannot be embedded, now or ever; `message` says why in a line without secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Embedder(Protocol):
    """One model. `windowed`: it takes less than a chunk, so that chunks are embedded window by window."""

    @property
    def name(self) -> str: ...

    @property
    def windowed(self) -> bool: ...

    @property
    def batch(self) -> int:
        """Texts that are best given at once."""
        ...

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """A vector of length 1 for each text, none of which is blank. A query goes before documents under way.

        Raises EmbeddingError.
        """
        ...

    async def close(self) -> None: ...
