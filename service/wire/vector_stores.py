"""Parses and renders vector stores, their files, batches and searches, which v2 alone has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, Tag

from events.errors import Rejection
from events.objects import Json, VectorStore, VectorStoreBatch, VectorStoreFile
from events.vector_store.events import Chunking
from events.vector_store.requests import FileToIndex, VectorStoreRequest
from events.vector_store.state import DAY
from service.search.base import SearchResult
from service.wire.attributes import Attributes, Filter, filter_json
from service.wire.chunking_strategy import Strategy, render_chunking, to_chunking
from service.wire.fields import (
    Description,
    Flag,
    Identifier,
    Metadata,
    Name,
    NestedObject,
    RequestBody,
    union_by_json_type,
)
from service.wire.request_types import FileBatchRequest, SearchRequest
from service.wire.requests import parse_body
from service.wire.validation_errors import invalid_value

MAX_CREATED_WITH = 500
MAX_BATCH = 2_000
MAX_DAYS = 365
MAX_RESULTS = 50
DEFAULT_RESULTS = 10
# Limits of our own, which bound the cost of a search.
MAX_QUERY = 4_096
MAX_QUERIES = 8
STATUSES = ("in_progress", "completed", "failed", "cancelled")


class VectorStoreExpiry(NestedObject):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Strict(), Field(ge=1, le=MAX_DAYS)]


class NewStore(RequestBody):
    """POST /vector_stores"""

    name: Name | None = None
    description: Description | None = None
    file_ids: Annotated[list[Identifier], Field(fail_fast=True, max_length=MAX_CREATED_WITH)] | None = None
    expires_after: VectorStoreExpiry | None = None
    chunking_strategy: Strategy | None = None
    metadata: Metadata | None = None


class StoreChange(RequestBody):
    name: Name | None = None
    expires_after: VectorStoreExpiry | None = None
    metadata: Metadata | None = None


class NewStoreFile(RequestBody):
    file_id: Identifier
    chunking_strategy: Strategy | None = None
    attributes: Attributes | None = None


class AttributesChange(RequestBody):
    attributes: Attributes | None


class NewBatch(RequestBody):
    """Files by id, all alike, or each with its own settings; then those of the batch are ignored."""

    file_ids: Annotated[list[Identifier], Field(fail_fast=True, min_length=1, max_length=MAX_BATCH)] | None = None
    files: Annotated[list[NewStoreFile], Field(fail_fast=True, min_length=1, max_length=MAX_BATCH)] | None = None
    chunking_strategy: Strategy | None = None
    attributes: Attributes | None = None


class SearchRanking(RequestBody):
    ranker: Literal["none", "auto", "default-2024-11-15", "default_2024_08_21"] = "auto"
    score_threshold: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.0


Query = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_QUERY)]
_Queries = Annotated[list[Query], Field(fail_fast=True, min_length=1, max_length=MAX_QUERIES)]


class NewSearch(RequestBody):
    query: Annotated[
        Annotated[Query, Tag("|one")] | Annotated[_Queries, Tag("|many")],
        union_by_json_type({str: "|one", list: "|many"}, "one of a string or array of strings"),
    ]
    rewrite_query: Flag | None = None
    max_num_results: Annotated[int, Strict(), Field(ge=1, le=MAX_RESULTS)] | None = None
    filters: Filter | None = None
    ranking_options: SearchRanking | None = None


class VectorStores:
    """Parses and renders vector stores, which v2 alone has. Parsing raises Rejection."""

    def parse_new_store(self, body: Any) -> VectorStoreRequest:
        request = parse_body(NewStore, body)
        return VectorStoreRequest(
            name=request.name,
            description=request.description,
            metadata=request.metadata or {},
            expires_after=request.expires_after.days if request.expires_after else None,
            files=_to_files(request.file_ids or (), to_chunking(request.chunking_strategy), {}),
        )

    def parse_store_changes(self, body: Any) -> Json:
        request = parse_body(StoreChange, body)
        days = request.expires_after.days if request.expires_after else None
        values: Json = {"name": request.name, "expires_after": days, "metadata": request.metadata or {}}
        return {name: values[name] for name in request.model_fields_set}

    def parse_new_file(self, body: Any) -> FileToIndex:
        return _to_file(parse_body(NewStoreFile, body))

    def parse_attributes(self, body: Any) -> Json:
        return dict(parse_body(AttributesChange, body).attributes or {})

    def parse_new_batch(self, body: Any) -> FileBatchRequest:
        request = parse_body(NewBatch, body)
        if (request.file_ids is None) == (request.files is None):
            message = "Exactly one of 'file_ids' and 'files' is needed."
            raise Rejection(message, param="file_ids" if request.files is None else "files")
        if request.files is not None:
            found = {file.file_id: _to_file(file) for file in reversed(request.files)}
            ids = dict.fromkeys(file.file_id for file in request.files)
            return FileBatchRequest(tuple(found[id] for id in ids))
        return FileBatchRequest(
            _to_files(request.file_ids or (), to_chunking(request.chunking_strategy), request.attributes or {})
        )

    def parse_search(self, body: Any) -> SearchRequest:
        request = parse_body(NewSearch, body)
        ranking = request.ranking_options or SearchRanking()
        return SearchRequest(
            queries=(request.query,) if isinstance(request.query, str) else tuple(request.query),
            rewrite=bool(request.rewrite_query),
            limit=DEFAULT_RESULTS if request.max_num_results is None else request.max_num_results,
            filter=filter_json(request.filters) if request.filters is not None else None,
            ranker=ranking.ranker,
            threshold=ranking.score_threshold,
        )

    def parse_status_filter(self, parameters: Mapping[str, str]) -> str | None:
        given = parameters.get("filter")
        if given and given not in STATUSES:
            raise invalid_value("filter", given, STATUSES)
        return given or None

    def parse_content_page(self, parameters: Mapping[str, str]) -> int:
        # The token of the next page is the position of the last chunk of this one.
        given = parameters.get("page")
        if not given:
            return -1
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            raise Rejection(f"'{given[:20]}' is no page of this content.", param="page")
        return int(given)

    def render_store(self, store: VectorStore) -> Json:
        days = store.expires_after
        status = "expired" if store.expired else "in_progress" if store.in_progress else "completed"
        return {
            "id": store.id,
            "object": "vector_store",
            "created_at": store.created_at,
            "name": store.name,
            "description": store.description,
            "usage_bytes": store.usage_bytes,
            "file_counts": _render_counts(store),
            "status": status,
            "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
            "expires_at": None if days is None else store.last_active_at + days * DAY,
            "last_active_at": store.last_active_at,
            "metadata": store.metadata,
        }

    def render_file(self, file: VectorStoreFile) -> Json:
        return {
            "id": file.id,
            "object": "vector_store.file",
            "usage_bytes": file.usage_bytes,
            "created_at": file.created_at,
            "vector_store_id": file.vector_store_id,
            "status": file.status,
            "last_error": file.last_error,
            "chunking_strategy": render_chunking(file.chunking),
            "attributes": file.attributes,
        }

    def render_batch(self, batch: VectorStoreBatch) -> Json:
        return {
            "id": batch.id,
            "object": "vector_store.file_batch",
            "created_at": batch.created_at,
            "status": _batch_status(batch),
            "vector_store_id": batch.vector_store_id,
            "file_counts": _render_counts(batch),
        }

    def render_search_results(self, result: SearchResult) -> Json:
        return {
            "object": "vector_store.search_results.page",
            "search_query": list(result.queries),
            "data": [
                {
                    "file_id": hit.file_id,
                    "filename": hit.filename,
                    "score": hit.score,
                    "attributes": hit.attributes,
                    "content": [_render_text(hit.text)],
                }
                for hit in result.hits
            ],
            "has_more": False,
            "next_page": None,
        }

    def render_content(self, texts: Sequence[str], next_page: int | None) -> Json:
        return {
            "object": "vector_store.file_content.page",
            "data": [_render_text(text) for text in texts],
            "has_more": next_page is not None,
            "next_page": None if next_page is None else str(next_page),
        }

    def render_deleted_store(self, id: str) -> Json:
        return {"id": id, "object": "vector_store.deleted", "deleted": True}

    def render_deleted_file(self, id: str) -> Json:
        return {"id": id, "object": "vector_store.file.deleted", "deleted": True}


def _to_file(request: NewStoreFile) -> FileToIndex:
    return FileToIndex(request.file_id, to_chunking(request.chunking_strategy), dict(request.attributes or {}))


def _to_files(file_ids: Sequence[str], chunks: Chunking, attributes: Mapping[str, Any]) -> tuple[FileToIndex, ...]:
    return tuple(FileToIndex(id, chunks, dict(attributes)) for id in dict.fromkeys(file_ids))


def _render_counts(counted: VectorStore | VectorStoreBatch) -> Json:
    counts = {name: getattr(counted, name) for name in STATUSES}
    return {**counts, "total": sum(counts.values())}


def _batch_status(batch: VectorStoreBatch) -> str:
    """Returns "failed" only if all files of the batch have failed."""
    if batch.is_cancelled:
        return "cancelled"
    if batch.in_progress:
        return "in_progress"
    return "failed" if batch.failed and not batch.completed and not batch.cancelled else "completed"


def _render_text(text: str) -> Json:
    return {"type": "text", "text": text}


STORES = VectorStores()
