"""Vector stores, their files, batches and searches: bodies in, objects out. v2's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, Tag

from events.errors import Rejected
from events.objects import VectorStore, VectorStoreBatch, VectorStoreFile
from events.vector_store.events import Chunking
from events.vector_store.state import DAY
from service.search.base import SearchResult
from service.wire.api import BatchRequest, FileToIndex, Json, SearchRequest, StoreRequest
from service.wire.attributes import Attributes, Filter, plain
from service.wire.chunking_strategy import Strategy, chunking, shown
from service.wire.fields import Description, Flag, Identifier, Loose, Metadata, Name, Request, by_kind
from service.wire.requests import parsed
from service.wire.validation_errors import invalid_value

MAX_CREATED_WITH = 500
MAX_BATCH = 2_000
MAX_DAYS = 365
MAX_RESULTS = 50
DEFAULT_RESULTS = 10
# Ours: they keep one search's cost within bounds.
MAX_QUERY = 4_096
MAX_QUERIES = 8
STATUSES = ("in_progress", "completed", "failed", "cancelled")


class ExpiresAfter(Loose):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Strict(), Field(ge=1, le=MAX_DAYS)]


class NewStore(Request):
    """POST /vector_stores"""

    name: Name | None = None
    description: Description | None = None
    file_ids: Annotated[list[Identifier], Field(max_length=MAX_CREATED_WITH)] | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: Strategy | None = None
    metadata: Metadata | None = None


class StoreChange(Request):
    name: Name | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class NewStoreFile(Request):
    file_id: Identifier
    chunking_strategy: Strategy | None = None
    attributes: Attributes | None = None


class AttributesChange(Request):
    attributes: Attributes | None


class NewBatch(Request):
    """Files by id, all alike, or each with its own settings; then those of the batch are ignored."""

    file_ids: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_BATCH)] | None = None
    files: Annotated[list[NewStoreFile], Field(min_length=1, max_length=MAX_BATCH)] | None = None
    chunking_strategy: Strategy | None = None
    attributes: Attributes | None = None


class Ranking(Request):
    ranker: Literal["none", "auto", "default-2024-11-15", "default_2024_08_21"] = "auto"
    score_threshold: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.0


Query = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_QUERY)]
_Queries = Annotated[list[Query], Field(min_length=1, max_length=MAX_QUERIES)]


class NewSearch(Request):
    query: Annotated[
        Annotated[Query, Tag("|one")] | Annotated[_Queries, Tag("|many")],
        by_kind({str: "|one", list: "|many"}, "one of a string or array of strings"),
    ]
    rewrite_query: Flag | None = None
    max_num_results: Annotated[int, Strict(), Field(ge=1, le=MAX_RESULTS)] | None = None
    filters: Filter | None = None
    ranking_options: Ranking | None = None


class VectorStores:
    """How v2 parses and renders them. Parsing raises Rejected."""

    def create(self, body: Any) -> StoreRequest:
        asked = parsed(NewStore, body)
        return StoreRequest(
            name=asked.name,
            description=asked.description,
            metadata=asked.metadata or {},
            expires_after=asked.expires_after.days if asked.expires_after else None,
            files=_alike(asked.file_ids or (), chunking(asked.chunking_strategy), {}),
        )

    def modify(self, body: Any) -> Json:
        """The fields that the request names, by the names of VectorStore; null clears."""
        asked = parsed(StoreChange, body)
        days = asked.expires_after.days if asked.expires_after else None
        values: Json = {"name": asked.name, "expires_after": days, "metadata": asked.metadata or {}}
        return {name: values[name] for name in asked.model_fields_set}

    def add_file(self, body: Any) -> FileToIndex:
        return _own(parsed(NewStoreFile, body))

    def change_attributes(self, body: Any) -> Json:
        return dict(parsed(AttributesChange, body).attributes or {})

    def create_batch(self, body: Any) -> BatchRequest:
        asked = parsed(NewBatch, body)
        if (asked.file_ids is None) == (asked.files is None):
            message = "Exactly one of 'file_ids' and 'files' is needed."
            raise Rejected(message, param="file_ids" if asked.files is None else "files")
        if asked.files is not None:
            found = {file.file_id: _own(file) for file in reversed(asked.files)}
            ids = dict.fromkeys(file.file_id for file in asked.files)
            return BatchRequest(tuple(found[id] for id in ids))
        return BatchRequest(_alike(asked.file_ids or (), chunking(asked.chunking_strategy), asked.attributes or {}))

    def search(self, body: Any) -> SearchRequest:
        asked = parsed(NewSearch, body)
        ranking = asked.ranking_options or Ranking()
        return SearchRequest(
            queries=(asked.query,) if isinstance(asked.query, str) else tuple(asked.query),
            rewrite=bool(asked.rewrite_query),
            limit=DEFAULT_RESULTS if asked.max_num_results is None else asked.max_num_results,
            filter=plain(asked.filters) if asked.filters is not None else None,
            ranker=ranking.ranker,
            threshold=ranking.score_threshold,
        )

    def status_filter(self, asked: Mapping[str, str]) -> str | None:
        given = asked.get("filter")
        if given and given not in STATUSES:
            raise invalid_value("filter", given, STATUSES)
        return given or None

    def content_page(self, asked: Mapping[str, str]) -> int:
        """The position that the page begins behind: `page` is the token of the page before."""
        given = asked.get("page")
        if not given:
            return -1
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            raise Rejected(f"'{given[:20]}' is no page of this content.", param="page")
        return int(given)

    def store(self, store: VectorStore) -> Json:
        days = store.expires_after
        status = "expired" if store.expired else "in_progress" if store.in_progress else "completed"
        return {
            "id": store.id,
            "object": "vector_store",
            "created_at": store.created_at,
            "name": store.name,
            "description": store.description,
            "usage_bytes": store.usage_bytes,
            "file_counts": _counts(store),
            "status": status,
            "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
            "expires_at": None if days is None else store.last_active_at + days * DAY,
            "last_active_at": store.last_active_at,
            "metadata": store.metadata,
        }

    def file(self, file: VectorStoreFile) -> Json:
        return {
            "id": file.id,
            "object": "vector_store.file",
            "usage_bytes": file.usage_bytes,
            "created_at": file.created_at,
            "vector_store_id": file.vector_store_id,
            "status": file.status,
            "last_error": file.last_error,
            "chunking_strategy": shown(file.chunking),
            "attributes": file.attributes,
        }

    def batch(self, batch: VectorStoreBatch) -> Json:
        return {
            "id": batch.id,
            "object": "vector_store.file_batch",
            "created_at": batch.created_at,
            "status": _batch_status(batch),
            "vector_store_id": batch.vector_store_id,
            "file_counts": _counts(batch),
        }

    def search_result(self, result: SearchResult) -> Json:
        return {
            "object": "vector_store.search_results.page",
            "search_query": list(result.queries),
            "data": [
                {
                    "file_id": hit.file_id,
                    "filename": hit.filename,
                    "score": hit.score,
                    "attributes": hit.attributes,
                    "content": [_text(hit.text)],
                }
                for hit in result.hits
            ],
            "has_more": False,
            "next_page": None,
        }

    def content(self, texts: Sequence[str], next_page: int | None) -> Json:
        return {
            "object": "vector_store.file_content.page",
            "data": [_text(text) for text in texts],
            "has_more": next_page is not None,
            "next_page": None if next_page is None else str(next_page),
        }

    def deleted(self, id: str) -> Json:
        return {"id": id, "object": "vector_store.deleted", "deleted": True}

    def deleted_file(self, id: str) -> Json:
        return {"id": id, "object": "vector_store.file.deleted", "deleted": True}


def _own(asked: NewStoreFile) -> FileToIndex:
    return FileToIndex(asked.file_id, chunking(asked.chunking_strategy), dict(asked.attributes or {}))


def _alike(file_ids: Sequence[str], chunks: Chunking, attributes: Mapping[str, Any]) -> tuple[FileToIndex, ...]:
    return tuple(FileToIndex(id, chunks, dict(attributes)) for id in dict.fromkeys(file_ids))


def _counts(shown: VectorStore | VectorStoreBatch) -> Json:
    counts = {name: getattr(shown, name) for name in STATUSES}
    return {**counts, "total": sum(counts.values())}


def _batch_status(batch: VectorStoreBatch) -> str:
    """It has failed where every one of its files has."""
    if batch.is_cancelled:
        return "cancelled"
    if batch.in_progress:
        return "in_progress"
    return "failed" if batch.failed and not batch.completed and not batch.cancelled else "completed"


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


STORES = VectorStores()
