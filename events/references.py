"""The files and vector stores that objects name: in tool_resources (v1's files of an assistant), or attached.

No event says that a file or store which is gone leaves the objects that name it: whoever shows them leaves it out
(`keeping`, `keeping_stores`).
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
    return list(tool_resources.get("code_interpreter", {}).get("file_ids", ()))


def with_file(tool_resources: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """With one more file, if it is not there yet. Raises Rejection for the 21st."""
    before = files_of(tool_resources)
    if file_id in before:
        return dict(tool_resources)
    if len(before) >= MAX_FILES:
        message = f"An assistant can have at most {MAX_FILES} files."
        raise Rejection(message, param="file_id", code="array_above_max_length")
    return {**tool_resources, "code_interpreter": {"file_ids": [*before, file_id]}}


def without_file(tool_resources: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """Raises FileNotFound where it does not have the file."""
    before = files_of(tool_resources)
    if file_id not in before:
        raise FileNotFound(file_id)
    return {**tool_resources, "code_interpreter": {"file_ids": [id for id in before if id != file_id]}}


def referenced_files(shown: Assistant | Thread | Message) -> list[str]:
    """The files that an object names, each once."""
    if isinstance(shown, Message):
        return list(dict.fromkeys(attachment["file_id"] for attachment in shown.attachments))
    return files_of(shown.tool_resources)


def keep_files(shown: Referrer, there: Container[str]) -> Referrer:
    """The object without those files that are not `there`."""
    if isinstance(shown, Message):
        return replace(shown, attachments=[one for one in shown.attachments if one["file_id"] in there])
    left = [id for id in files_of(shown.tool_resources) if id in there]
    return replace(shown, tool_resources={**shown.tool_resources, "code_interpreter": {"file_ids": left}})


def own_store_id(owner_id: str) -> str:
    """The id of the vector store that is made for an assistant or a thread."""
    return hex_id_of("vs", owner_id)


def files_store_id(assistant_id: str) -> str:
    """The id of the store that v1's files of an assistant are in: never one that a client made or fills itself."""
    return hex_id_of("vs", f"{assistant_id}/files")


def stores_of(tool_resources: Mapping[str, Any]) -> list[str]:
    return list(tool_resources.get("file_search", {}).get("vector_store_ids", ()))


def with_stores(tool_resources: Mapping[str, Any], store_ids: Sequence[str]) -> dict[str, Any]:
    return {**tool_resources, "file_search": {"vector_store_ids": list(store_ids)}}


def referenced_stores(shown: Assistant | Thread | Message) -> list[str]:
    return [] if isinstance(shown, Message) else stores_of(shown.tool_resources)


def keep_stores(shown: Referrer, there: Container[str]) -> Referrer:
    """The object without those stores that are not `there`."""
    named = referenced_stores(shown)
    if all(id in there for id in named):
        return shown
    one: Any = shown
    found: Referrer = replace(one, tool_resources=with_stores(one.tool_resources, [id for id in named if id in there]))
    return found
