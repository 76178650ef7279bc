"""Samples of vector stores, which only v2 has."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from events.objects import Json, VectorStore, VectorStoreBatch, VectorStoreFile
from events.vector_store.events import ErrorCode, FileStatus
from service.http.openapi.infer import Free
from service.search.base import Hit, SearchResult
from service.wire.vector_stores import STORES

_AT = 1
_ATTRIBUTES: Json = Free(text="v", number=1.5, whole=1, flag=True)
_CODES = get_args(ErrorCode)
_STORE = VectorStore(
    id="vs_1",
    created_at=_AT,
    name="n",
    description="d",
    metadata=Free(key="value"),
    expires_after=7,
    embedding_model="m",
    last_active_at=_AT,
)
_STORED = VectorStoreFile(
    id="file-1",
    vector_store_id="vs_1",
    created_at=_AT,
    filename="a.txt",
    attributes=_ATTRIBUTES,
    chunking={"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
)
_BATCH = VectorStoreBatch(
    id="vsfb_1",
    vector_store_id="vs_1",
    created_at=_AT,
    is_cancelled=False,
    in_progress=0,
    completed=0,
    failed=0,
    cancelled=0,
)
_HIT = Hit(store_id="vs_1", file_id="file-1", filename="a.txt", score=0.5, attributes=_ATTRIBUTES, text="t", position=0)


def store_samples() -> dict[str, list[Json]]:
    """Returns samples by name."""
    wire = STORES
    batches = [replace(_BATCH, in_progress=1), replace(_BATCH, completed=1), replace(_BATCH, failed=1)]
    return {
        "VectorStore": [
            wire.render_store(_STORE),
            wire.render_store(replace(_STORE, expired=True)),
            wire.render_store(replace(_STORE, name=None, description=None, expires_after=None, in_progress=1)),
        ],
        "VectorStoreFile": [
            *(wire.render_file(replace(_STORED, status=one)) for one in get_args(FileStatus)),
            *(wire.render_file(replace(_STORED, last_error={"code": one, "message": "m"})) for one in _CODES),
            wire.render_file(replace(_STORED, chunking=None)),
        ],
        "VectorStoreFileBatch": [wire.render_batch(one) for one in (*batches, replace(_BATCH, is_cancelled=True))],
        "VectorStoreSearchResults": [
            wire.render_search_results(SearchResult(["q"], [_HIT])),
            wire.render_search_results(SearchResult(["q"], [])),
        ],
        "VectorStoreFileContent": [wire.render_content(["t"], 5), wire.render_content([], None)],
        "DeletedVectorStore": [wire.render_deleted_store("id")],
        "DeletedVectorStoreFile": [wire.render_deleted_file("id")],
    }
