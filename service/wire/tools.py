"""Tools and their resources, as requests send them and as the core keeps them: in v2's shapes, with their defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, Tag

from events.errors import Rejected
from service.wire.api import FileToIndex, StoreRequest
from service.wire.chunking_strategy import Strategy, chunking
from service.wire.fields import (
    MAX_CODE_FILES,
    MAX_HELPER_FILES,
    MAX_VECTOR_STORES,
    Flag,
    FreeObject,
    FunctionName,
    Identifier,
    Loose,
    Metadata,
    Text,
    by_type,
)

# What a function without parameters, and a bare file_search, are shown with (docs/behaviour.md, "Object bodies").
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
RANKER = "default_2024_08_21"
THRESHOLD = 0.0


class Function(Loose):
    name: FunctionName
    description: Text | None = None
    parameters: FreeObject | None = None
    strict: Flag | None = None


class FunctionTool(Loose):
    type: Literal["function"]
    function: Function


class CodeTool(Loose):
    type: Literal["code_interpreter"]


class Ranking(Loose):
    ranker: Literal["auto", "default_2024_08_21"] = "default_2024_08_21"
    score_threshold: Annotated[float, Strict(), Field(ge=0, le=1)]


class Search(Loose):
    max_num_results: Annotated[int, Strict(), Field(ge=1, le=50)] | None = None
    ranking_options: Ranking | None = None


class SearchTool(Loose):
    type: Literal["file_search"]
    file_search: Search | None = None


class RetrievalTool(Loose):
    type: Literal["retrieval"]


Tool = Annotated[
    Annotated[CodeTool, Tag("|code_interpreter")]
    | Annotated[SearchTool, Tag("|file_search")]
    | Annotated[FunctionTool, Tag("|function")],
    by_type("code_interpreter", "file_search", "function"),
]
ToolV1 = Annotated[
    Annotated[CodeTool, Tag("|code_interpreter")]
    | Annotated[RetrievalTool, Tag("|retrieval")]
    | Annotated[FunctionTool, Tag("|function")],
    by_type("code_interpreter", "retrieval", "function"),
]
AnyTool = CodeTool | SearchTool | RetrievalTool | FunctionTool


class CodeResources(Loose):
    file_ids: Annotated[list[Identifier], Field(max_length=MAX_CODE_FILES)] = Field(default_factory=list)


class StoreHelper(Loose):
    file_ids: Annotated[list[Identifier], Field(max_length=MAX_HELPER_FILES)] = Field(default_factory=list)
    chunking_strategy: Strategy | None = None
    metadata: Metadata | None = None


class SearchResources(Loose):
    vector_store_ids: Annotated[list[Identifier], Field(max_length=MAX_VECTOR_STORES)] | None = None
    vector_stores: Annotated[list[StoreHelper], Field(max_length=MAX_VECTOR_STORES)] | None = None


class ToolResources(Loose):
    code_interpreter: CodeResources | None = None
    file_search: SearchResources | None = None


def tool(asked: AnyTool) -> dict[str, Any]:
    """The tool as it is kept and echoed. v1's retrieval is file_search."""
    match asked:
        case CodeTool():
            return {"type": "code_interpreter"}
        case FunctionTool(function=function):
            return {"type": "function", "function": _function(function)}
        case RetrievalTool():
            return _search(Search())
        case SearchTool(file_search=search):
            return _search(search or Search())


def tools(asked: Iterable[AnyTool] | None) -> list[dict[str, Any]]:
    return [tool(one) for one in asked or ()]


def tool_resources(asked: ToolResources | None) -> dict[str, Any]:
    """The resources as they are kept, but for `vector_stores` of file_search: StoreRequests, whose ids come when made.

    Raises Rejected for stores by id and by the helper at once.
    """
    kept: dict[str, Any] = {}
    if asked is None:
        return kept
    if asked.code_interpreter is not None:
        kept |= code_files(asked.code_interpreter.file_ids)
    if asked.file_search is not None:
        kept["file_search"] = _stores(asked.file_search)
    return kept


def _stores(asked: SearchResources) -> dict[str, Any]:
    ids, helpers = asked.vector_store_ids or [], asked.vector_stores or []
    if ids and helpers:
        message = "Only one of 'vector_store_ids' and 'vector_stores' can be given."
        raise Rejected(message, param="tool_resources.file_search")
    if not helpers:
        return {"vector_store_ids": ids}
    return {"vector_stores": [_helper(helper) for helper in helpers]}


def _helper(asked: StoreHelper) -> StoreRequest:
    chunks = chunking(asked.chunking_strategy)
    files = tuple(FileToIndex(id, chunks, {}) for id in dict.fromkeys(asked.file_ids))
    return StoreRequest(None, None, asked.metadata or {}, None, files)


def code_files(file_ids: Iterable[str]) -> dict[str, Any]:
    """Files for code_interpreter, each once."""
    return {"code_interpreter": {"file_ids": list(dict.fromkeys(file_ids))}}


def _function(asked: Function) -> dict[str, Any]:
    described = {"description": asked.description} if asked.description is not None else {}
    parameters = NO_PARAMETERS if asked.parameters is None else asked.parameters
    return {"name": asked.name, **described, "parameters": parameters, "strict": bool(asked.strict)}


def _search(asked: Search) -> dict[str, Any]:
    ranking = asked.ranking_options
    shown = {
        "ranker": RANKER if ranking is None or ranking.ranker == "auto" else ranking.ranker,
        "score_threshold": THRESHOLD if ranking is None else ranking.score_threshold,
        "hybrid_search": None,
    }
    limit = {"max_num_results": asked.max_num_results} if asked.max_num_results is not None else {}
    return {"type": "file_search", "file_search": {**limit, "ranking_options": shown}}
