"""The Protocol through which handlers pass requests on to a model server without parsing the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Path = Literal["/chat/completions", "/completions", "/embeddings"]


@dataclass(frozen=True, slots=True)
class PassthroughAnswer:
    """An answer of the model server with status 200. `chunks` are its bytes as they arrive.

    Reading `chunks` raises PassthroughError if the answer breaks off.
    """

    content_type: str
    content_length: int | None
    chunks: AsyncIterator[bytes]


class PassthroughError(Exception):
    """The model server refused the request or failed. `error` is {message, type, param, code} and holds no key.

    `headers` are response headers for the client, such as Retry-After.
    """

    def __init__(self, status: int, error: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class PassthroughRequest:
    """A request to pass on. `model` is the name that the client sent, `raw` the body, and `body` the decoded body."""

    path: Path
    model: str
    body: Mapping[str, Any]
    raw: bytes = field(repr=False)


class Passthrough(Protocol):
    """The model servers behind the catalogue of model names."""

    def post(self, request: PassthroughRequest) -> AbstractAsyncContextManager[PassthroughAnswer]:
        """Sends the request and yields the answer. Leaving the context stops the call. Raises PassthroughError."""
        ...

    async def models(self) -> list[dict[str, Any]]:
        """Returns the model objects of the default model server, and those of the names in the catalogue."""
        ...

    async def model(self, name: str) -> dict[str, Any]:
        """Returns the model object with that name. Raises PassthroughError with 404 if no server serves it."""
        ...
