"""The twins of `sql/rows/` for assistants, files, uploads, keys, projects, webhook endpoints, and metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from projections.row_store.tables import Tables, coalesce_patches

Patches = Sequence[bytes | None]


def insert_assistant(tables: Tables, assistant_id: str, project_id: str, created_at: datetime, body: bytes) -> None:
    changes = {"created_at": created_at, "deleted": False, "body": body, "patches": []}
    tables.upsert("assistants", {"assistant_id": assistant_id, "project_id": project_id} | changes, changes)


def modify_assistant(tables: Tables, assistant_id: str, patches: Patches) -> None:
    row = tables.find("assistants", assistant_id)
    row["patches"] = coalesce_patches(row["patches"], patches)


def delete_assistant(tables: Tables, assistant_id: str) -> None:
    tables.find("assistants", assistant_id).update(deleted=True, body=b"{}", patches=[])


def insert_file(
    tables: Tables,
    file_id: str,
    project_id: str,
    created_at: datetime,
    purpose: str,
    expires_at: int | None,
    blob: str | None,
    size: int,
    body: bytes,
) -> None:
    changes = {
        "created_at": created_at,
        "purpose": purpose,
        "expires_at": expires_at,
        "blob": blob,
        "body": body,
        "bytes": size,
    }
    tables.upsert("files", {"file_id": file_id, "project_id": project_id} | changes, changes)


def delete_file(tables: Tables, file_id: str) -> None:
    tables.find("files", file_id).update(blob=None, bytes=0, body=b"{}")


def insert_upload(
    tables: Tables, upload_id: str, project_id: str, expires_at: int, body: bytes, makes: str | None
) -> None:
    row = {
        "upload_id": upload_id,
        "project_id": project_id,
        "status": "pending",
        "expires_at": expires_at,
        "file_id": None,
        "body": body,
        "makes": makes,
    }
    tables.insert("uploads", row)


def finish_upload(tables: Tables, upload_id: str, status: str, file_id: str | None) -> None:
    tables.find("uploads", upload_id).update(status=status, file_id=file_id)


def insert_upload_part(tables: Tables, upload_id: str, part_id: str, size: int, body: bytes) -> None:
    tables.insert("upload_parts", {"upload_id": upload_id, "part_id": part_id, "body": body, "bytes": size})


def delete_upload_parts(tables: Tables, upload_id: str) -> None:
    tables.clear("upload_parts")


def insert_key(
    tables: Tables,
    key_id: str,
    project_id: str,
    created_at: datetime,
    name: str,
    scope: str,
    digest: bytes,
    ending: str,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    max_runs: int | None,
) -> None:
    row = {
        "key_id": key_id,
        "project_id": project_id,
        "created_at": created_at,
        "revoked_at": None,
        "name": name,
        "scope": scope,
        "hash": digest,
        "ending": ending,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_runs": max_runs,
    }
    tables.insert("api_keys", row)


def modify_key(
    tables: Tables,
    key_id: str,
    name: str,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    max_runs: int | None,
) -> None:
    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_runs": max_runs,
    }
    tables.find("api_keys", key_id).update(name=name, **limits)


def revoke_key(tables: Tables, key_id: str, revoked_at: datetime) -> None:
    tables.find("api_keys", key_id)["revoked_at"] = revoked_at


def insert_project(tables: Tables, project_id: str, created_at: datetime, name: str) -> None:
    tables.insert("projects", {"project_id": project_id, "created_at": created_at, "name": name})


def rename_project(tables: Tables, project_id: str, name: str) -> None:
    tables.find("projects", project_id)["name"] = name


def insert_endpoint(
    tables: Tables, endpoint_id: str, project_id: str, created_at: datetime, types: Sequence[str], body: bytes
) -> None:
    row = {
        "endpoint_id": endpoint_id,
        "project_id": project_id,
        "created_at": created_at,
        "enabled": True,
        "types": list(types),
        "body": body,
        "patches": [],
    }
    tables.insert("webhook_endpoints", row)


def modify_endpoint(
    tables: Tables, endpoint_id: str, enabled: bool | None, types: Sequence[str] | None, patches: Patches
) -> None:
    row = tables.find("webhook_endpoints", endpoint_id)
    if enabled is not None:
        row["enabled"] = enabled
    if types is not None:
        row["types"] = list(types)
    row["patches"] = coalesce_patches(row["patches"], patches)


def delete_endpoint(tables: Tables, endpoint_id: str) -> None:
    tables.delete("webhook_endpoints", endpoint_id)


def insert_metadata(
    tables: Tables,
    stream_id: str,
    kind: str,
    project_id: str,
    created_at: datetime,
    pairs: Sequence[bytes],
    together: Sequence[UUID],
) -> None:
    for pair in pairs:
        tables.insert("metadata_pairs", _pair_row(stream_id, kind, project_id, created_at, pair, together))


def remove_metadata(tables: Tables, stream_id: str, kept: Sequence[bytes]) -> None:
    for pair in [row["pair"] for row in tables.rows("metadata_pairs")]:
        if pair not in kept:
            tables.delete("metadata_pairs", stream_id, pair)


def replace_thread_metadata(tables: Tables, thread_id: str, pairs: Sequence[bytes], together: Sequence[UUID]) -> None:
    _replace_metadata(tables, "threads", "thread", thread_id, pairs, together)


def replace_assistant_metadata(
    tables: Tables, assistant_id: str, pairs: Sequence[bytes], together: Sequence[UUID]
) -> None:
    _replace_metadata(tables, "assistants", "assistant", assistant_id, pairs, together)


def delete_metadata(tables: Tables, stream_id: str) -> None:
    tables.clear("metadata_pairs")


def _replace_metadata(
    tables: Tables, table: str, kind: str, stream_id: str, pairs: Sequence[bytes], together: Sequence[UUID]
) -> None:
    """Does nothing if the object has no row."""
    owner = tables[table].get((stream_id,))
    if owner is None:
        return
    for pair in pairs:
        row = _pair_row(stream_id, kind, owner["project_id"], owner["created_at"], pair, together)
        tables.upsert("metadata_pairs", row, {"together": list(together)})


def _pair_row(
    stream_id: str, kind: str, project_id: str, created_at: datetime, pair: bytes, together: Sequence[UUID]
) -> dict[str, Any]:
    return {
        "stream_id": stream_id,
        "pair": pair,
        "kind": kind,
        "project_id": project_id,
        "created_at": created_at,
        "together": list(together),
    }


BLOCKS: dict[str, Callable[..., None]] = {
    "assistants.insert": insert_assistant,
    "assistants.modify": modify_assistant,
    "assistants.delete": delete_assistant,
    "files.insert": insert_file,
    "files.delete": delete_file,
    "uploads.insert": insert_upload,
    "uploads.finish": finish_upload,
    "upload_parts.insert": insert_upload_part,
    "upload_parts.delete_all": delete_upload_parts,
    "api_keys.insert": insert_key,
    "api_keys.modify": modify_key,
    "api_keys.revoke": revoke_key,
    "projects.insert": insert_project,
    "projects.rename": rename_project,
    "webhook_endpoints.insert": insert_endpoint,
    "webhook_endpoints.modify": modify_endpoint,
    "webhook_endpoints.delete": delete_endpoint,
    "metadata_pairs.insert": insert_metadata,
    "metadata_pairs.remove": remove_metadata,
    "metadata_pairs.replace_thread": replace_thread_metadata,
    "metadata_pairs.replace_assistant": replace_assistant_metadata,
    "metadata_pairs.delete": delete_metadata,
}
