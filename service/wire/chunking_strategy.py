"""Parses and renders the chunking strategies of files in vector stores."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, Tag, model_validator
from pydantic_core import PydanticCustomError

from events.vector_store.events import Chunking
from events.vector_store.state import DEFAULT_OVERLAP, DEFAULT_SIZE
from service.wire.fields import RequestBody, union_by_type

MIN_CHUNK = 100
MAX_CHUNK = 4096


class Static(RequestBody):
    max_chunk_size_tokens: Annotated[int, Strict(), Field(ge=MIN_CHUNK, le=MAX_CHUNK)]
    chunk_overlap_tokens: Annotated[int, Strict(), Field(ge=0)]

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.chunk_overlap_tokens * 2 > self.max_chunk_size_tokens:
            raise PydanticCustomError(
                "overlap", "chunk_overlap_tokens must be less than or equal to half of max_chunk_size_tokens"
            )
        return self


class AutoStrategy(RequestBody):
    type: Literal["auto"]


class StaticStrategy(RequestBody):
    type: Literal["static"]
    static: Static


Strategy = Annotated[
    Annotated[AutoStrategy, Tag("|auto")] | Annotated[StaticStrategy, Tag("|static")], union_by_type("auto", "static")
]


def to_chunking(strategy: AutoStrategy | StaticStrategy | None) -> Chunking:
    """Returns the chunk size and overlap in tokens; defaults for the strategy auto and for none."""
    match strategy:
        case StaticStrategy(static=static):
            return Chunking(**static.model_dump())
        case _:
            return Chunking(max_chunk_size_tokens=DEFAULT_SIZE, chunk_overlap_tokens=DEFAULT_OVERLAP)


def render_chunking(chunking: dict[str, Any] | None) -> dict[str, Any]:
    """`chunking` is {max_chunk_size_tokens, chunk_overlap_tokens}, or None if it is unknown."""
    return {"type": "other"} if chunking is None else {"type": "static", "static": chunking}
