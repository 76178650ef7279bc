"""Vector stores and their files as a request describes them, before the files are looked up."""

from __future__ import annotations

from dataclasses import dataclass

from events.objects import Json
from events.vector_store.events import Chunking


@dataclass(frozen=True, slots=True)
class FileToIndex:
    """A file to add to a vector store."""

    id: str
    chunking: Chunking
    attributes: Json


@dataclass(frozen=True, slots=True)
class VectorStoreRequest:
    """`expires_after` is in days. `files` holds each file once."""

    name: str | None
    description: str | None
    metadata: dict[str, str]
    expires_after: int | None
    files: tuple[FileToIndex, ...]
