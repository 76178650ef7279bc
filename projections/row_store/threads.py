"""The twins of `sql/rows/` for the tables of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from projections.row_store.tables import Tables

Patches = Sequence[bytes | None]


def insert_thread(
    tables: Tables, thread_id: str, project_id: str, created_at: datetime, body: bytes, has_own_store: bool
) -> None:
    row = {
        "thread_id": thread_id,
        "project_id": project_id,
        "created_at": created_at,
        "body": body,
        "patches": [],
        "has_own_store": has_own_store,
    }
    tables.insert("threads", row)


def modify_thread(tables: Tables, thread_id: str, metadata: bytes | None, tool_resources: bytes | None) -> None:
    row = tables.find("threads", thread_id)
    old_metadata, old_resources = [*row["patches"], None, None][:2]
    row["patches"] = [metadata or old_metadata, tool_resources or old_resources]
    row["has_own_store"] = row["has_own_store"] and tool_resources is None


def add_own_store(tables: Tables, thread_id: str) -> None:
    tables.find("threads", thread_id)["has_own_store"] = True


def delete_thread(tables: Tables, thread_id: str) -> None:
    tables.delete("threads", thread_id)


def insert_attachments(tables: Tables, thread_id: str, positions: Sequence[int], file_ids: Sequence[bytes]) -> None:
    for position, ids in zip(positions, file_ids, strict=True):
        tables.insert("thread_attachments", {"thread_id": thread_id, "position": position, "file_ids": ids})


def delete_attachments(tables: Tables, thread_id: str) -> None:
    tables.clear("thread_attachments")


def insert_messages(
    tables: Tables,
    thread_id: str,
    project_id: str,
    message_ids: Sequence[str],
    positions: Sequence[int],
    run_ids: Sequence[str | None],
    places: Sequence[int | None],
    bodies: Sequence[bytes],
) -> None:
    for id, position, run_id, place, body in zip(message_ids, positions, run_ids, places, bodies, strict=True):
        row = {
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
        tables.insert("messages", row)


def modify_message(tables: Tables, thread_id: str, message_id: str, metadata: bytes) -> None:
    tables.find("messages", thread_id, message_id)["patches"] = [metadata]


def delete_message(tables: Tables, thread_id: str, message_id: str) -> None:
    tables.find("messages", thread_id, message_id).update(deleted=True, body=b"{}", patches=[])


def delete_messages(tables: Tables, thread_id: str) -> None:
    tables.clear("messages")


def insert_run(
    tables: Tables,
    thread_id: str,
    run_id: str,
    project_id: str,
    position: int,
    promised: Sequence[str],
    body: bytes,
    patches: Patches,
) -> None:
    row = {
        "thread_id": thread_id,
        "run_id": run_id,
        "project_id": project_id,
        "position": position,
        "body": body,
        "patches": [None, *patches],
        "promised": list(promised),
    }
    tables.insert("runs", row)


def import_runs(
    tables: Tables,
    thread_id: str,
    project_id: str,
    run_ids: Sequence[str],
    positions: Sequence[int],
    bodies: Sequence[bytes],
) -> None:
    for id, position, body in zip(run_ids, positions, bodies, strict=True):
        insert_run(tables, thread_id, id, project_id, position, [], body, [])


def patch_run(tables: Tables, thread_id: str, run_id: str, patches: Patches, promised: Sequence[str]) -> None:
    row = tables.find("runs", thread_id, run_id)
    row["patches"] = [*row["patches"], *patches]
    row["promised"] = [*row["promised"], *promised]


def modify_run(tables: Tables, thread_id: str, run_id: str, metadata: bytes) -> None:
    row = tables.find("runs", thread_id, run_id)
    row["patches"] = [metadata, *row["patches"][1:]]


def delete_runs(tables: Tables, thread_id: str) -> None:
    tables.clear("runs")


def insert_active_run(
    tables: Tables,
    thread_id: str,
    run_id: str,
    project_id: str,
    position: int,
    status: str,
    expires_at: int | None,
    process: int | None,
) -> None:
    row = {
        "thread_id": thread_id,
        "run_id": run_id,
        "project_id": project_id,
        "position": position,
        "status": status,
        "expires_at": expires_at,
        "process": process,
    }
    tables.insert("active_runs", row)


def change_active_run(
    tables: Tables,
    thread_id: str,
    run_id: str,
    status: str | None,
    changes_process: bool,
    process: int | None,
    expires_at: int | None,
) -> None:
    row = tables.find("active_runs", thread_id, run_id)
    if status is not None:
        row["status"] = status
    if changes_process:
        row["process"] = process
    if expires_at is not None:
        row["expires_at"] = expires_at


def delete_active_run(tables: Tables, thread_id: str, run_id: str) -> None:
    tables.delete("active_runs", thread_id, run_id)


def delete_active_runs(tables: Tables, thread_id: str) -> None:
    tables.clear("active_runs")


def insert_step(
    tables: Tables,
    thread_id: str,
    step_id: str,
    project_id: str,
    position: int,
    run_id: str,
    kind: str,
    body: bytes,
    patches: Patches,
) -> None:
    row = {
        "thread_id": thread_id,
        "step_id": step_id,
        "project_id": project_id,
        "position": position,
        "run_id": run_id,
        "body": body,
        "kind": kind,
        "patches": list(patches),
    }
    tables.insert("steps", row)


def import_steps(
    tables: Tables,
    thread_id: str,
    project_id: str,
    step_ids: Sequence[str],
    positions: Sequence[int],
    run_ids: Sequence[str],
    kinds: Sequence[str],
    bodies: Sequence[bytes],
) -> None:
    for id, position, run_id, kind, body in zip(step_ids, positions, run_ids, kinds, bodies, strict=True):
        insert_step(tables, thread_id, id, project_id, position, run_id, kind, body, [])


def patch_step(tables: Tables, thread_id: str, step_id: str, patches: Patches) -> None:
    row = tables.find("steps", thread_id, step_id)
    row["patches"] = [*row["patches"], *patches]


def delete_steps(tables: Tables, thread_id: str) -> None:
    tables.clear("steps")


BLOCKS: dict[str, Callable[..., None]] = {
    "threads.insert": insert_thread,
    "threads.modify": modify_thread,
    "threads.add_own_store": add_own_store,
    "threads.delete": delete_thread,
    "thread_attachments.insert": insert_attachments,
    "thread_attachments.delete_all": delete_attachments,
    "messages.insert": insert_messages,
    "messages.modify": modify_message,
    "messages.delete": delete_message,
    "messages.delete_all": delete_messages,
    "runs.insert": insert_run,
    "runs.import": import_runs,
    "runs.patch": patch_run,
    "runs.modify": modify_run,
    "runs.delete_all": delete_runs,
    "active_runs.insert": insert_active_run,
    "active_runs.change": change_active_run,
    "active_runs.delete": delete_active_run,
    "active_runs.delete_all": delete_active_runs,
    "steps.insert": insert_step,
    "steps.import": import_steps,
    "steps.patch": patch_step,
    "steps.delete_all": delete_steps,
}
