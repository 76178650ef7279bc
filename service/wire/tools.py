"""Parses tools and their resources into the form that events keep: the shapes of v2, with defaults filled in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, Field, Strict, Tag, model_validator

from events.errors import Rejection
from events.vector_store.requests import FileToIndex, VectorStoreRequest
from service.wire import json_schemas
from service.wire.chunking_strategy import Strategy, to_chunking
from service.wire.fields import (
    MAX_CODE_FILES,
    MAX_HELPER_FILES,
    MAX_TOOLS_BYTES,
    MAX_VECTOR_STORES,
    Flag,
    FreeObject,
    FunctionName,
    Identifier,
    Metadata,
    NestedObject,
    StrictText,
    raise_schema_problem,
    too_many_bytes,
    union_by_type,
)

# Defaults of functions and file_search (docs/behaviour.md, "Object bodies").
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
DEFAULT_RANKER = "default_2024_08_21"
DEFAULT_THRESHOLD = 0.0


class Function(NestedObject):
    name: FunctionName
    description: StrictText | None = None
    parameters: FreeObject | None = None
    strict: Flag | None = None

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        if self.parameters is not None:
            # A strict function without parameters is shown with NO_PARAMETERS, and may be sent back so.
            is_strict = bool(self.strict) and self.parameters != NO_PARAMETERS
            problem = json_schemas.function_problem(self.parameters, strict=is_strict)
            raise_schema_problem(f"Invalid schema for function '{self.name}'", problem, param=None)
        return self


class FunctionTool(NestedObject):
    type: Literal["function"]
    function: Function


class CodeTool(NestedObject):
    type: Literal["code_interpreter"]


class RankingOptions(NestedObject):
    ranker: Literal["auto", "default_2024_08_21"] = "default_2024_08_21"
    score_threshold: Annotated[float, Strict(), Field(ge=0, le=1)]


class Search(NestedObject):
    max_num_results: Annotated[int, Strict(), Field(ge=1, le=50)] | None = None
    ranking_options: RankingOptions | None = None


class SearchTool(NestedObject):
    type: Literal["file_search"]
    file_search: Search | None = None


class RetrievalTool(NestedObject):
    type: Literal["retrieval"]


Tool = Annotated[
    Annotated[CodeTool, Tag("|code_interpreter")]
    | Annotated[SearchTool, Tag("|file_search")]
    | Annotated[FunctionTool, Tag("|function")],
    union_by_type("code_interpreter", "file_search", "function"),
]
ToolV1 = Annotated[
    Annotated[CodeTool, Tag("|code_interpreter")]
    | Annotated[RetrievalTool, Tag("|retrieval")]
    | Annotated[FunctionTool, Tag("|function")],
    union_by_type("code_interpreter", "retrieval", "function"),
]
AnyTool = CodeTool | SearchTool | RetrievalTool | FunctionTool


def _check_size(tools: list[AnyTool]) -> list[AnyTool]:
    """Raises PydanticCustomError if the functions have more than MAX_TOOLS_BYTES of JSON."""
    size = sum(len(orjson.dumps(tool.function.model_dump())) for tool in tools if isinstance(tool, FunctionTool))
    if size > MAX_TOOLS_BYTES:
        raise too_many_bytes(MAX_TOOLS_BYTES, size)
    return tools


HasStorableSize = AfterValidator(_check_size)


class CodeResources(NestedObject):
    file_ids: Annotated[list[Identifier], Field(fail_fast=True, max_length=MAX_CODE_FILES)] = Field(
        default_factory=list
    )


class StoreHelper(NestedObject):
    file_ids: Annotated[list[Identifier], Field(fail_fast=True, max_length=MAX_HELPER_FILES)] = Field(
        default_factory=list
    )
    chunking_strategy: Strategy | None = None
    metadata: Metadata | None = None


class SearchResources(NestedObject):
    vector_store_ids: Annotated[list[Identifier], Field(fail_fast=True, max_length=MAX_VECTOR_STORES)] | None = None
    vector_stores: Annotated[list[StoreHelper], Field(fail_fast=True, max_length=MAX_VECTOR_STORES)] | None = None


class ToolResources(NestedObject):
    code_interpreter: CodeResources | None = None
    file_search: SearchResources | None = None


def to_tool(given: AnyTool) -> dict[str, Any]:
    """Returns the tool in the shape of v2. The retrieval of v1 becomes file_search."""
    match given:
        case CodeTool():
            return {"type": "code_interpreter"}
        case FunctionTool(function=function):
            return {"type": "function", "function": _to_function(function)}
        case RetrievalTool():
            return _to_file_search(Search())
        case SearchTool(file_search=search):
            return _to_file_search(search or Search())


def to_tools(given: Iterable[AnyTool] | None) -> list[dict[str, Any]]:
    return [to_tool(one) for one in given or ()]


def to_tool_resources(given: ToolResources | None) -> dict[str, Any]:
    """Returns the resources in the shape of v2, except `vector_stores` of file_search, which are VectorStoreRequests.

    Raises Rejection if the request names stores by id and also asks for new ones.
    """
    kept: dict[str, Any] = {}
    if given is None:
        return kept
    if given.code_interpreter is not None:
        kept |= to_code_resources(given.code_interpreter.file_ids)
    if given.file_search is not None:
        kept["file_search"] = _to_search_resources(given.file_search)
    return kept


def _to_search_resources(given: SearchResources) -> dict[str, Any]:
    ids, helpers = given.vector_store_ids or [], given.vector_stores or []
    if ids and helpers:
        message = "Only one of 'vector_store_ids' and 'vector_stores' can be given."
        raise Rejection(message, param="tool_resources.file_search")
    if not helpers:
        return {"vector_store_ids": ids}
    return {"vector_stores": [_to_store_request(helper) for helper in helpers]}


def _to_store_request(given: StoreHelper) -> VectorStoreRequest:
    chunks = to_chunking(given.chunking_strategy)
    files = tuple(FileToIndex(id, chunks, {}) for id in dict.fromkeys(given.file_ids))
    return VectorStoreRequest(
        name=None, description=None, metadata=given.metadata or {}, expires_after=None, files=files
    )


def to_code_resources(file_ids: Iterable[str]) -> dict[str, Any]:
    """Returns tool_resources with these files for code_interpreter, each once."""
    return {"code_interpreter": {"file_ids": list(dict.fromkeys(file_ids))}}


def _to_function(given: Function) -> dict[str, Any]:
    described = {"description": given.description} if given.description is not None else {}
    parameters = NO_PARAMETERS if given.parameters is None else given.parameters
    return {"name": given.name, **described, "parameters": parameters, "strict": bool(given.strict)}


def _to_file_search(given: Search) -> dict[str, Any]:
    ranking = given.ranking_options
    shown = {
        "ranker": DEFAULT_RANKER if ranking is None or ranking.ranker == "auto" else ranking.ranker,
        "score_threshold": DEFAULT_THRESHOLD if ranking is None else ranking.score_threshold,
        "hybrid_search": None,
    }
    limit = {"max_num_results": given.max_num_results} if given.max_num_results is not None else {}
    return {"type": "file_search", "file_search": {**limit, "ranking_options": shown}}
