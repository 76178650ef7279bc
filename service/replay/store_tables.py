"""The effects of the blocks of sql/rows for vector stores, their files and their batches. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from service.replay.view_tables import BlockEffect, Row, ViewTables, delete_all, replace_patches

_DAY_S = 86_400
_COUNTS = ("in_progress", "completed", "failed", "cancelled", "usage_bytes")


def _insert_store(
    tables: ViewTables,
    id: str,
    project_id: str,
    created_at: datetime,
    last_active_at: int,
    expires_after: int | None,
    embedding_model: str,
    body: bytes,
) -> None:
    kept: Row = tables.table("vector_stores").get(id) or {"project_id": project_id, **dict.fromkeys(_COUNTS, 0)}
    tables.table("vector_stores")[id] = {
        **kept,
        "store_id": id,
        "created_at": created_at,
        "deleted": False,
        "expires_at": _expiry(last_active_at, expires_after),
        "embedding_model": embedding_model,
        "body": body,
        "patches": [],
        "last_active_at": last_active_at,
        "expires_after": expires_after,
        "expired": False,
    }


def _modify_store(
    tables: ViewTables, id: str, patches: Sequence[bytes | None], has_expiry: bool, expires_after: int | None
) -> None:
    row = tables.row("vector_stores", id)
    row["patches"] = replace_patches(row["patches"], patches)
    if has_expiry:
        row["expires_after"] = expires_after
    _set_expiry(row)


def _use_store(tables: ViewTables, id: str, at: int) -> None:
    row = tables.row("vector_stores", id)
    row["last_active_at"] = at
    _set_expiry(row)


def _set_expiry(row: Row) -> None:
    row["expires_at"] = None if row["expired"] else _expiry(row["last_active_at"], row["expires_after"])


def _expiry(last_active_at: int, expires_after: int | None) -> int | None:
    return None if expires_after is None else last_active_at + _DAY_S * expires_after


def _move_to_model(tables: ViewTables, id: str, embedding_model: str) -> None:
    tables.row("vector_stores", id)["embedding_model"] = embedding_model


def _count(tables: ViewTables, id: str, *more: int) -> None:
    row = tables.row("vector_stores", id)
    for name, count in zip(_COUNTS, more, strict=True):
        row[name] += count


def _expire_store(tables: ViewTables, id: str) -> None:
    row = tables.row("vector_stores", id)
    row.update(cancelled=row["cancelled"] + row["in_progress"], in_progress=0, usage_bytes=0)
    row.update(expires_at=None, expired=True)


def _delete_store(tables: ViewTables, id: str) -> None:
    row = tables.row("vector_stores", id)
    row.update(dict.fromkeys(_COUNTS, 0), deleted=True, expires_after=None, expires_at=None, body=b"{}", patches=[])


def _insert_files(
    tables: ViewTables,
    store_id: str,
    project_id: str,
    position: int,
    batch_id: str | None,
    ids: Sequence[str],
    filenames: Sequence[str],
    are_large: Sequence[bool],
    attributes: Sequence[str],
    bodies: Sequence[bytes],
) -> None:
    rows = tables.table("vector_store_files")
    columns = zip(ids, filenames, are_large, attributes, bodies, strict=True)
    for place, (id, filename, is_large, attribute_text, body) in enumerate(columns, start=1):
        rows[id] = {
            "store_id": store_id,
            "file_id": id,
            "project_id": rows[id]["project_id"] if id in rows else project_id,
            "position": position + place,
            "batch_id": batch_id,
            "filename": filename,
            "status": "in_progress",
            "job": None,
            "process": None,
            "attempt": 0,
            "deadline": None,
            "usage_bytes": 0,
            "attributes": _jsonb(attribute_text),
            "body": body,
            "last_error": None,
            "is_large": is_large,
        }


def _start(tables: ViewTables, store_id: str, id: str, job: int, attempt: int, process: int, deadline: int) -> None:
    tables.row("vector_store_files", id).update(job=job, attempt=attempt, process=process, deadline=deadline)


def _release(tables: ViewTables, store_id: str, id: str, job: int) -> None:
    row = tables.table("vector_store_files").get(id)
    if row is not None and row["job"] == job:
        row.update(attempt=row["attempt"] - 1, process=None, deadline=None)


def _finish(tables: ViewTables, store_id: str, id: str, usage_bytes: int) -> None:
    row = tables.row("vector_store_files", id)
    row.update(status="completed", process=None, deadline=None, usage_bytes=usage_bytes)


def _fail(tables: ViewTables, store_id: str, id: str, error: bytes) -> None:
    row = tables.row("vector_store_files", id)
    row.update(status="failed", job=None, process=None, deadline=None, last_error=error)


def _cancel(tables: ViewTables, store_id: str, batch_id: str) -> None:
    for row in tables.table("vector_store_files").values():
        if row["batch_id"] == batch_id and row["status"] == "in_progress":
            row.update(status="cancelled", job=None, process=None, deadline=None)


def _replace_attributes(tables: ViewTables, store_id: str, id: str, attributes: str) -> None:
    tables.row("vector_store_files", id)["attributes"] = _jsonb(attributes)


def _remove(tables: ViewTables, store_id: str, id: str) -> None:
    row = tables.row("vector_store_files", id)
    row.update(status="removed", batch_id=None, job=None, process=None, deadline=None, usage_bytes=0)
    row.update(filename="", attributes="{}", body=b"{}", last_error=None)


def _expire_files(tables: ViewTables, store_id: str) -> None:
    for row in tables.table("vector_store_files").values():
        if row["status"] != "removed":
            status = "cancelled" if row["status"] == "in_progress" else row["status"]
            row.update(status=status, job=None, process=None, deadline=None, usage_bytes=0)


def _insert_batch(tables: ViewTables, store_id: str, id: str, project_id: str, created_at: int) -> None:
    tables.table("vector_store_batches")[id] = {
        "store_id": store_id,
        "batch_id": id,
        "project_id": project_id,
        "created_at": created_at,
        "is_cancelled": False,
        "in_progress": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    }


def _grow_batch(tables: ViewTables, store_id: str, id: str, files: int) -> None:
    tables.row("vector_store_batches", id)["in_progress"] += files


def _leave_batches(tables: ViewTables, store_id: str, file_ids: Sequence[str]) -> None:
    files = tables.table("vector_store_files")
    leaving = [files[id] for id in dict.fromkeys(file_ids) if id in files]
    counts = Counter(row["batch_id"] for row in leaving if row["status"] == "in_progress")
    for id, row in tables.table("vector_store_batches").items():
        row.update(in_progress=row["in_progress"] - counts[id], cancelled=row["cancelled"] + counts[id])


def _move_in_batch(tables: ViewTables, store_id: str, file_id: str, completed: int, failed: int) -> None:
    file = tables.table("vector_store_files").get(file_id)
    row = None if file is None else tables.table("vector_store_batches").get(file["batch_id"])
    if row is not None:
        row["in_progress"] -= 1
        row["completed"] += completed
        row["failed"] += failed


def _cancel_batch(tables: ViewTables, store_id: str, id: str) -> None:
    row = tables.row("vector_store_batches", id)
    row.update(is_cancelled=True, cancelled=row["cancelled"] + row["in_progress"], in_progress=0)


def _expire_batches(tables: ViewTables, store_id: str) -> None:
    for row in tables.table("vector_store_batches").values():
        row.update(cancelled=row["cancelled"] + row["in_progress"], in_progress=0)


def _jsonb(text: str) -> str:
    """Returns the text as the type jsonb of Postgres holds it: keys by length and then by bytes, numbers in full."""
    return _jsonb_text(orjson.loads(text))


def _jsonb_text(value: Any) -> str:
    match value:
        case dict():
            keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
            return "{" + ", ".join(f"{orjson.dumps(key).decode()}: {_jsonb_text(value[key])}" for key in keys) + "}"
        case list():
            return "[" + ", ".join(map(_jsonb_text, value)) + "]"
        case float():
            return format(Decimal(repr(value)), "f")
        case _:
            return orjson.dumps(value).decode()


EFFECTS: Mapping[str, BlockEffect] = {
    "vector_stores.insert": _insert_store,
    "vector_stores.modify": _modify_store,
    "vector_stores.use": _use_store,
    "vector_stores.move_to_model": _move_to_model,
    "vector_stores.count": _count,
    "vector_stores.expire": _expire_store,
    "vector_stores.delete": _delete_store,
    "vector_store_files.insert": _insert_files,
    "vector_store_files.start": _start,
    "vector_store_files.release_any": _release,
    "vector_store_files.finish": _finish,
    "vector_store_files.fail": _fail,
    "vector_store_files.cancel_any": _cancel,
    "vector_store_files.replace_attributes": _replace_attributes,
    "vector_store_files.remove": _remove,
    "vector_store_files.expire_any": _expire_files,
    "vector_store_files.delete_all": delete_all("vector_store_files"),
    "vector_store_batches.insert": _insert_batch,
    "vector_store_batches.grow": _grow_batch,
    "vector_store_batches.leave_any": _leave_batches,
    "vector_store_batches.move_any": _move_in_batch,
    "vector_store_batches.cancel": _cancel_batch,
    "vector_store_batches.expire_any": _expire_batches,
    "vector_store_batches.delete_all": delete_all("vector_store_batches"),
}
