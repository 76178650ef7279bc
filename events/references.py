"""The files and vector stores that assistants, threads and messages refer to, by tool_resources or as attachments.

If a file or a vector store is deleted, no event changes the objects that refer to it. Readers leave the reference out
(`keep_files`, `keep_stores`).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from events.errors import FileNotFound, Rejection
from events.ids import hex_id_of
from events.objects import Assistant, Message, Thread

Referrer = TypeVar("Referrer", Assistant, Thread, Message)

MAX_FILES = 20


def files_of(tool_resources: Mapping[str, Any]) -> list[str]:
    """Returns the ids of the files for code_interpreter; for v1 these are all files of an assistant."""
    return list(tool_resources.get("code_interpreter", {}).get("file_ids", ()))


def with_file(tool_resources: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """Returns the resources with the file added. Raises Rejection if they have MAX_FILES files already."""
    before = files_of(tool_resources)
    if file_id in before:
        return dict(tool_resources)
    if len(before) >= MAX_FILES:
        message = f"An assistant can have at most {MAX_FILES} files."
        raise Rejection(message, param="file_id", code="array_above_max_length")
    return {**tool_resources, "code_interpreter": {"file_ids": [*before, file_id]}}


def without_file(tool_resources: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """Returns the resources without the file. Raises FileNotFound if they do not have it."""
    before = files_of(tool_resources)
    if file_id not in before:
        raise FileNotFound(file_id)
    return {**tool_resources, "code_interpreter": {"file_ids": [id for id in before if id != file_id]}}


def referenced_files(referrer: Assistant | Thread | Message) -> list[str]:
    """Returns the ids of the files that an object refers to, each once."""
    if isinstance(referrer, Message):
        return list(dict.fromkeys(attachment["file_id"] for attachment in referrer.attachments))
    return files_of(referrer.tool_resources)


def keep_files(referrer: Referrer, existing: Container[str]) -> Referrer:
    """Returns the object with only those references to files that are in `existing`."""
    if isinstance(referrer, Message):
        return replace(referrer, attachments=[one for one in referrer.attachments if one["file_id"] in existing])
    left = [id for id in files_of(referrer.tool_resources) if id in existing]
    return replace(referrer, tool_resources={**referrer.tool_resources, "code_interpreter": {"file_ids": left}})


def own_store_id(owner_id: str) -> str:
    """Returns the id of the vector store that the server creates for an assistant or a thread."""
    return hex_id_of("vs", owner_id)


def files_store_id(assistant_id: str) -> str:
    """Returns the id of the vector store for v1's files of an assistant. Clients cannot create or name this store."""
    return hex_id_of("vs", f"{assistant_id}/files")


def stores_of(tool_resources: Mapping[str, Any]) -> list[str]:
    """Returns the ids of the vector stores for file_search."""
    return list(tool_resources.get("file_search", {}).get("vector_store_ids", ()))


def with_stores(tool_resources: Mapping[str, Any], store_ids: Sequence[str]) -> dict[str, Any]:
    """Returns the resources with these vector stores for file_search, instead of those they had."""
    return {**tool_resources, "file_search": {"vector_store_ids": list(store_ids)}}


def referenced_stores(referrer: Assistant | Thread | Message) -> list[str]:
    """Returns the ids of the vector stores that an object refers to."""
    return [] if isinstance(referrer, Message) else stores_of(referrer.tool_resources)


def keep_stores(referrer: Referrer, existing: Container[str]) -> Referrer:
    """Returns the object with only those references to vector stores that are in `existing`."""
    if isinstance(referrer, Message):
        return referrer
    store_ids = stores_of(referrer.tool_resources)
    kept = [id for id in store_ids if id in existing]
    if kept == store_ids:
        return referrer
    return replace(referrer, tool_resources=with_stores(referrer.tool_resources, kept))
