"""What handlers know of the model upstreams that some requests are passed through to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Path = Literal["/chat/completions", "/completions", "/embeddings"]


@dataclass(frozen=True, slots=True)
class Relayed:
    """An answer that has begun well. `chunks` are its bytes as they come, and raise RelayError where they break off."""

    content_type: str
    content_length: int | None
    chunks: AsyncIterator[bytes]


class RelayError(Exception):
    """The upstream refused or failed. `error` is {message, type, param, code}, with no key in it.

    `headers` tell the client when to come again.
    """

    def __init__(self, status: int, error: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """`model` is the name that the client asked for; `body` its decoded request, `raw` the same as it was sent."""

    path: Path
    model: str
    body: Mapping[str, Any]
    raw: bytes = field(repr=False)


class Relay(Protocol):
    """The upstreams behind their catalogue of names."""

    def post(self, request: RelayRequest) -> AbstractAsyncContextManager[Relayed]:
        """Leaving the context stops the call at the upstream. Raises RelayError."""
        ...

    async def models(self) -> list[dict[str, Any]]:
        """What can be asked for: the default upstream's list, and the names that the catalogue spells out."""
        ...

    async def model(self, name: str) -> dict[str, Any]:
        """Raises RelayError, with 404 for a name that nothing serves."""
        ...
