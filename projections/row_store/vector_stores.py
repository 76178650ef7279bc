"""The twins of `sql/rows/` for vector stores, their files and their batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from projections.row_store.tables import Row, Tables, coalesce_patches

Patches = Sequence[bytes | None]

_DAY_S = 86_400
_NO_COUNTS = {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "usage_bytes": 0}
_NO_WORK = {"job": None, "process": None, "deadline": None}


def insert_store(
    tables: Tables,
    store_id: str,
    project_id: str,
    created_at: datetime,
    last_active_at: int,
    expires_after: int | None,
    embedding_model: str,
    body: bytes,
) -> None:
    changes = {
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
    tables.upsert("vector_stores", {"store_id": store_id, "project_id": project_id} | _NO_COUNTS | changes, changes)


def modify_store(
    tables: Tables, store_id: str, patches: Patches, changes_expiry: bool, expires_after: int | None
) -> None:
    row = tables.find("vector_stores", store_id)
    row["patches"] = coalesce_patches(row["patches"], patches)
    if changes_expiry:
        row["expires_after"] = expires_after
    row["expires_at"] = None if row["expired"] else _expiry(row["last_active_at"], row["expires_after"])


def use_store(tables: Tables, store_id: str, at: int) -> None:
    row = tables.find("vector_stores", store_id)
    row["last_active_at"] = at
    row["expires_at"] = None if row["expired"] else _expiry(at, row["expires_after"])


def move_store(tables: Tables, store_id: str, embedding_model: str) -> None:
    tables.find("vector_stores", store_id)["embedding_model"] = embedding_model


def count_files(
    tables: Tables, store_id: str, in_progress: int, completed: int, failed: int, cancelled: int, usage_bytes: int
) -> None:
    row = tables.find("vector_stores", store_id)
    row["in_progress"] += in_progress
    row["completed"] += completed
    row["failed"] += failed
    row["cancelled"] += cancelled
    row["usage_bytes"] += usage_bytes


def expire_store(tables: Tables, store_id: str) -> None:
    row = tables.find("vector_stores", store_id)
    cancelled = row["cancelled"] + row["in_progress"]
    row.update(cancelled=cancelled, in_progress=0, usage_bytes=0, expires_at=None, expired=True)


def delete_store(tables: Tables, store_id: str) -> None:
    row = tables.find("vector_stores", store_id)
    row.update(_NO_COUNTS | {"deleted": True, "expires_after": None, "expires_at": None, "body": b"{}", "patches": []})


def _expiry(last_active_at: int, expires_after: int | None) -> int | None:
    return None if expires_after is None else last_active_at + expires_after * _DAY_S


def insert_files(
    tables: Tables,
    store_id: str,
    project_id: str,
    before: int,
    batch_id: str | None,
    file_ids: Sequence[str],
    filenames: Sequence[str],
    are_large: Sequence[bool],
    attributes: Sequence[str],
    bodies: Sequence[bytes],
) -> None:
    columns = zip(file_ids, filenames, are_large, attributes, bodies, strict=True)
    for place, (file_id, filename, is_large, pairs, body) in enumerate(columns, start=1):
        changes = _NO_WORK | {
            "position": before + place,
            "batch_id": batch_id,
            "filename": filename,
            "status": "in_progress",
            "attempt": 0,
            "usage_bytes": 0,
            "attributes": pairs,
            "body": body,
            "last_error": None,
            "is_large": is_large,
        }
        row = {"store_id": store_id, "file_id": file_id, "project_id": project_id} | changes
        tables.upsert("vector_store_files", row, changes)


def start_file(
    tables: Tables, store_id: str, file_id: str, job: int, attempt: int, process: int, deadline: int
) -> None:
    row = tables.find("vector_store_files", store_id, file_id)
    row.update(job=job, attempt=attempt, process=process, deadline=deadline)


def release_file(tables: Tables, store_id: str, file_id: str, job: int) -> None:
    """Does nothing if another job works on the file."""
    row = tables["vector_store_files"].get((store_id, file_id))
    if row is not None and row["job"] == job:
        row.update(attempt=row["attempt"] - 1, process=None, deadline=None)


def finish_file(tables: Tables, store_id: str, file_id: str, usage_bytes: int) -> None:
    row = tables.find("vector_store_files", store_id, file_id)
    row.update(status="completed", process=None, deadline=None, usage_bytes=usage_bytes)


def fail_file(tables: Tables, store_id: str, file_id: str, error: bytes) -> None:
    tables.find("vector_store_files", store_id, file_id).update(_NO_WORK | {"status": "failed", "last_error": error})


def cancel_files(tables: Tables, store_id: str, batch_id: str) -> None:
    for row in tables.rows("vector_store_files"):
        if row["batch_id"] == batch_id and row["status"] == "in_progress":
            row.update(_NO_WORK | {"status": "cancelled"})


def replace_attributes(tables: Tables, store_id: str, file_id: str, attributes: str) -> None:
    tables.find("vector_store_files", store_id, file_id)["attributes"] = attributes


def remove_file(tables: Tables, store_id: str, file_id: str) -> None:
    no_text = {"filename": "", "attributes": "{}", "body": b"{}", "last_error": None}
    row = tables.find("vector_store_files", store_id, file_id)
    row.update(_NO_WORK | no_text | {"status": "removed", "batch_id": None, "usage_bytes": 0})


def expire_files(tables: Tables, store_id: str) -> None:
    for row in tables.rows("vector_store_files"):
        if row["status"] != "removed":
            status = "cancelled" if row["status"] == "in_progress" else row["status"]
            row.update(_NO_WORK | {"status": status, "usage_bytes": 0})


def delete_files(tables: Tables, store_id: str) -> None:
    tables.clear("vector_store_files")


def insert_batch(tables: Tables, store_id: str, batch_id: str, project_id: str, created_at: int) -> None:
    row = {
        "store_id": store_id,
        "batch_id": batch_id,
        "project_id": project_id,
        "created_at": created_at,
        "is_cancelled": False,
        "in_progress": 0,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    }
    tables.insert("vector_store_batches", row)


def grow_batch(tables: Tables, store_id: str, batch_id: str, files: int) -> None:
    tables.find("vector_store_batches", store_id, batch_id)["in_progress"] += files


def leave_batches(tables: Tables, store_id: str, file_ids: Sequence[str]) -> None:
    """Counts the files that are in progress as cancelled in their batches."""
    leaving = Counter(
        row["batch_id"]
        for row in tables.rows("vector_store_files")
        if row["file_id"] in file_ids and row["status"] == "in_progress" and row["batch_id"] is not None
    )
    for batch_id, files in leaving.items():
        batch = tables["vector_store_batches"].get((store_id, batch_id))
        if batch is not None:
            batch["in_progress"] -= files
            batch["cancelled"] += files


def move_in_batch(tables: Tables, store_id: str, file_id: str, completed: int, failed: int) -> None:
    """Does nothing if the file has no batch."""
    file = tables["vector_store_files"].get((store_id, file_id), {})
    batch = tables["vector_store_batches"].get((store_id, file.get("batch_id")))
    if batch is not None:
        batch["in_progress"] -= 1
        batch["completed"] += completed
        batch["failed"] += failed


def cancel_batch(tables: Tables, store_id: str, batch_id: str) -> None:
    row = tables.find("vector_store_batches", store_id, batch_id)
    row["is_cancelled"] = True
    _cancel_rest(row)


def expire_batches(tables: Tables, store_id: str) -> None:
    for row in tables.rows("vector_store_batches"):
        if row["in_progress"] > 0:
            _cancel_rest(row)


def delete_batches(tables: Tables, store_id: str) -> None:
    tables.clear("vector_store_batches")


def _cancel_rest(batch: Row) -> None:
    batch["cancelled"] += batch["in_progress"]
    batch["in_progress"] = 0


BLOCKS: dict[str, Callable[..., None]] = {
    "vector_stores.insert": insert_store,
    "vector_stores.modify": modify_store,
    "vector_stores.use": use_store,
    "vector_stores.move_to_model": move_store,
    "vector_stores.count": count_files,
    "vector_stores.expire": expire_store,
    "vector_stores.delete": delete_store,
    "vector_store_files.insert": insert_files,
    "vector_store_files.start": start_file,
    "vector_store_files.release_any": release_file,
    "vector_store_files.finish": finish_file,
    "vector_store_files.fail": fail_file,
    "vector_store_files.cancel_any": cancel_files,
    "vector_store_files.replace_attributes": replace_attributes,
    "vector_store_files.remove": remove_file,
    "vector_store_files.expire_any": expire_files,
    "vector_store_files.delete_all": delete_files,
    "vector_store_batches.insert": insert_batch,
    "vector_store_batches.grow": grow_batch,
    "vector_store_batches.leave_any": leave_batches,
    "vector_store_batches.move_any": move_in_batch,
    "vector_store_batches.cancel": cancel_batch,
    "vector_store_batches.expire_any": expire_batches,
    "vector_store_batches.delete_all": delete_batches,
}
