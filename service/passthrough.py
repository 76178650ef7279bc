"""The Protocol through which handlers pass requests on to a model server without parsing the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import orjson

Path = Literal["/chat/completions", "/completions", "/embeddings"]
# Bytes after the opening bracket of an object within which an empty one is closed.
_LOOKAHEAD = 1024


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PassthroughRequest:
    """A request to pass on. `model` is the name that the client asked for, and `raw` the body, a JSON object.

    `model_values` are the values of the object's fields "model", as (start, end) in `raw`; a body may have several. The
    names in them are `names_sent`.
    """

    path: Path
    model: str
    raw: bytes = field(repr=False)
    model_values: tuple[tuple[int, int], ...]
    names_sent: tuple[str, ...]

    def body_for(self, name: str) -> bytes:
        """Returns the body with `name` in every field "model", and otherwise unchanged.

        Of two such fields some servers read the first, others the last.
        """
        if self.names_sent == (name,):
            return self.raw
        quoted = orjson.dumps(name)
        if not self.model_values:
            start = self.raw.index(b"{") + 1
            comma = b"" if self.raw[start : start + _LOOKAHEAD].strip().startswith(b"}") else b","
            return b"".join((self.raw[:start], b'"model":', quoted, comma, memoryview(self.raw)[start:]))
        parts: list[bytes | memoryview] = []
        at, raw = 0, memoryview(self.raw)
        for start, end in self.model_values:
            parts += (raw[at:start], quoted)
            at = end
        return b"".join((*parts, raw[at:]))


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
