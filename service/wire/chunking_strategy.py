"""Chunking strategies: as requests have them and as objects show them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, Tag, model_validator
from pydantic_core import PydanticCustomError

from events.vector_store.events import Chunking
from events.vector_store.state import DEFAULT_OVERLAP, DEFAULT_SIZE
from service.wire.fields import Request, by_type

MIN_CHUNK = 100
MAX_CHUNK = 4096


class Static(Request):
    max_chunk_size_tokens: Annotated[int, Strict(), Field(ge=MIN_CHUNK, le=MAX_CHUNK)]
    chunk_overlap_tokens: Annotated[int, Strict(), Field(ge=0)]

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.chunk_overlap_tokens * 2 > self.max_chunk_size_tokens:
            raise PydanticCustomError(
                "overlap", "chunk_overlap_tokens must be less than or equal to half of max_chunk_size_tokens"
            )
        return self


class AutoStrategy(Request):
    type: Literal["auto"]


class StaticStrategy(Request):
    type: Literal["static"]
    static: Static


Strategy = Annotated[
    Annotated[AutoStrategy, Tag("|auto")] | Annotated[StaticStrategy, Tag("|static")], by_type("auto", "static")
]


def chunking(asked: AutoStrategy | StaticStrategy | None) -> Chunking:
    """Auto, and nothing, is a static strategy too."""
    match asked:
        case StaticStrategy(static=static):
            return Chunking(**static.model_dump())
        case _:
            return Chunking(max_chunk_size_tokens=DEFAULT_SIZE, chunk_overlap_tokens=DEFAULT_OVERLAP)


def shown(kept: dict[str, Any] | None) -> dict[str, Any]:
    return {"type": "other"} if kept is None else {"type": "static", "static": kept}
