"""The Protocol of embedding models, as indexing and search use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Vector = Sequence[float]


class EmbeddingError(Exception):
    """The texts cannot be embedded, and another attempt would not help. `message` is one line without secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class EmbedderDied(EmbeddingError):
    """The process of the model died, more than once. Another attempt may succeed."""


class Embedder(Protocol):
    """An embedding model.

    `needs_windows` is true if the model's context is shorter than a chunk, so that chunks are embedded window by
    window.
    """

    @property
    def name(self) -> str: ...

    @property
    def baseline(self) -> float:
        """The cosine that counts as no similarity: that of most texts with nothing in common."""
        ...

    @property
    def needs_windows(self) -> bool: ...

    @property
    def batch(self) -> int:
        """The best number of texts for one call of `embed`."""
        ...

    @property
    def at_once(self) -> int:
        """The number of calls of `embed` at the same time that use the model fully."""
        ...

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """Returns a vector of length 1 for each text, none of which may be blank.

        Queries take precedence over documents that are waiting. Raises EmbeddingError.
        """
        ...

    async def close(self) -> None: ...
