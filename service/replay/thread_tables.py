"""The effects of the blocks of sql/rows for threads, their messages, runs and steps, and for assistants. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from service.replay.view_tables import BlockEffect, ViewTables, delete_all, replace_patches

_DELETED_BODY = b"{}"


def _insert_thread(
    tables: ViewTables, id: str, project_id: str, created_at: datetime, body: bytes, has_own_store: bool
) -> None:
    tables.table("threads")[id] = {
        "thread_id": id,
        "project_id": project_id,
        "created_at": created_at,
        "body": body,
        "patches": [],
        "has_own_store": has_own_store,
    }


def _modify_thread(tables: ViewTables, id: str, metadata: bytes | None, resources: bytes | None) -> None:
    row = tables.row("threads", id)
    row["patches"] = replace_patches(row["patches"], [metadata, resources])
    row["has_own_store"] = row["has_own_store"] and resources is None


def _add_own_store(tables: ViewTables, id: str) -> None:
    tables.row("threads", id)["has_own_store"] = True


def _attach(tables: ViewTables, id: str, positions: Sequence[int], file_ids: Sequence[bytes]) -> None:
    for position, files in zip(positions, file_ids, strict=True):
        row = {"thread_id": id, "position": position, "file_ids": files}
        tables.table("thread_attachments")[position] = row


def _insert_messages(
    tables: ViewTables,
    thread_id: str,
    project_id: str,
    ids: Sequence[str],
    positions: Sequence[int],
    run_ids: Sequence[str | None],
    places: Sequence[int | None],
    bodies: Sequence[bytes],
) -> None:
    for id, position, run_id, place, body in zip(ids, positions, run_ids, places, bodies, strict=True):
        tables.table("messages")[id] = {
            "thread_id": thread_id,
            "message_id": id,
            "project_id": project_id,
            "position": position,
            "run_id": run_id,
            "deleted": False,
            "body": body,
            "place": place,
            "patches": [],
        }


def _modify_message(tables: ViewTables, thread_id: str, id: str, metadata: bytes) -> None:
    tables.row("messages", id)["patches"] = [metadata]


def _delete_message(tables: ViewTables, thread_id: str, id: str) -> None:
    tables.row("messages", id).update(deleted=True, body=_DELETED_BODY, patches=[])


def _insert_run(
    tables: ViewTables,
    thread_id: str,
    id: str,
    project_id: str,
    position: int,
    promised: Sequence[str],
    body: bytes,
    patches: Sequence[bytes],
) -> None:
    tables.table("runs")[id] = {
        "thread_id": thread_id,
        "run_id": id,
        "project_id": project_id,
        "position": position,
        "body": body,
        "patches": [None, *patches],
        "promised": list(promised),
    }


def _patch_run(tables: ViewTables, thread_id: str, id: str, patches: Sequence[bytes], promised: Sequence[str]) -> None:
    row = tables.row("runs", id)
    row["patches"] += patches
    row["promised"] += promised


def _modify_run(tables: ViewTables, thread_id: str, id: str, metadata: bytes) -> None:
    tables.row("runs", id)["patches"][0] = metadata


def _insert_active_run(
    tables: ViewTables,
    thread_id: str,
    id: str,
    project_id: str,
    position: int,
    status: str,
    expires_at: int | None,
    process: int | None,
) -> None:
    tables.table("active_runs")[id] = {
        "thread_id": thread_id,
        "run_id": id,
        "project_id": project_id,
        "position": position,
        "status": status,
        "expires_at": expires_at,
        "process": process,
    }


def _change_active_run(
    tables: ViewTables,
    thread_id: str,
    id: str,
    status: str | None,
    is_moved: bool,
    process: int | None,
    expires_at: int | None,
) -> None:
    row = tables.row("active_runs", id)
    if status is not None:
        row["status"] = status
    if is_moved:
        row["process"] = process
    if expires_at is not None:
        row["expires_at"] = expires_at


def _delete_active_run(tables: ViewTables, thread_id: str, id: str) -> None:
    tables.table("active_runs").pop(id, None)


def _insert_step(
    tables: ViewTables,
    thread_id: str,
    id: str,
    project_id: str,
    position: int,
    run_id: str,
    kind: str,
    body: bytes,
    patches: Sequence[bytes],
) -> None:
    tables.table("steps")[id] = {
        "thread_id": thread_id,
        "step_id": id,
        "project_id": project_id,
        "position": position,
        "run_id": run_id,
        "body": body,
        "kind": kind,
        "patches": list(patches),
    }


def _patch_step(tables: ViewTables, thread_id: str, id: str, patches: Sequence[bytes]) -> None:
    tables.row("steps", id)["patches"] += patches


def _insert_assistant(tables: ViewTables, id: str, project_id: str, created_at: datetime, body: bytes) -> None:
    before = tables.table("assistants").get(id)
    tables.table("assistants")[id] = {
        "assistant_id": id,
        "project_id": project_id if before is None else before["project_id"],
        "created_at": created_at,
        "deleted": False,
        "body": body,
        "patches": [],
    }


def _modify_assistant(tables: ViewTables, id: str, patches: Sequence[bytes | None]) -> None:
    row = tables.row("assistants", id)
    row["patches"] = replace_patches(row["patches"], patches)


def _delete_assistant(tables: ViewTables, id: str) -> None:
    tables.row("assistants", id).update(deleted=True, body=_DELETED_BODY, patches=[])


def _insert_pairs(
    tables: ViewTables,
    stream_id: str,
    kind: str,
    project_id: str,
    created_at: datetime,
    pairs: Sequence[bytes],
    together: Sequence[UUID],
) -> None:
    for pair in pairs:
        tables.table("metadata_pairs")[pair] = {
            "stream_id": stream_id,
            "pair": pair,
            "kind": kind,
            "project_id": project_id,
            "created_at": created_at,
            "together": list(together),
        }


def _remove_pairs(tables: ViewTables, stream_id: str, kept: Sequence[bytes]) -> None:
    rows = tables.table("metadata_pairs")
    for pair in rows.keys() - set(kept):
        del rows[pair]


def _replace_pairs(kind: str) -> BlockEffect:
    def effect(tables: ViewTables, stream_id: str, pairs: Sequence[bytes], together: Sequence[UUID]) -> None:
        of: dict[str, Any] = tables.row(f"{kind}s", stream_id)
        _insert_pairs(tables, stream_id, kind, of["project_id"], of["created_at"], pairs, together)

    return effect


EFFECTS: Mapping[str, BlockEffect] = {
    "threads.insert": _insert_thread,
    "threads.modify": _modify_thread,
    "threads.add_own_store": _add_own_store,
    "threads.delete": delete_all("threads"),
    "thread_attachments.insert": _attach,
    "thread_attachments.delete_all": delete_all("thread_attachments"),
    "messages.insert": _insert_messages,
    "messages.modify": _modify_message,
    "messages.delete": _delete_message,
    "messages.delete_all": delete_all("messages"),
    "runs.insert": _insert_run,
    "runs.patch": _patch_run,
    "runs.modify": _modify_run,
    "runs.delete_all": delete_all("runs"),
    "active_runs.insert": _insert_active_run,
    "active_runs.change": _change_active_run,
    "active_runs.delete": _delete_active_run,
    "active_runs.delete_all": delete_all("active_runs"),
    "steps.insert": _insert_step,
    "steps.patch": _patch_step,
    "steps.delete_all": delete_all("steps"),
    "assistants.insert": _insert_assistant,
    "assistants.modify": _modify_assistant,
    "assistants.delete": _delete_assistant,
    "metadata_pairs.insert": _insert_pairs,
    "metadata_pairs.remove": _remove_pairs,
    "metadata_pairs.replace_thread": _replace_pairs("thread"),
    "metadata_pairs.replace_assistant": _replace_pairs("assistant"),
    "metadata_pairs.delete": delete_all("metadata_pairs"),
}
