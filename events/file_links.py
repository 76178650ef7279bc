"""The files that tool_resources name for code_interpreter: v1's files of an assistant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from events.errors import FileNotFound, Rejected

MAX_FILES = 20


def files_of(tool_resources: Mapping[str, Any]) -> list[str]:
    return list(tool_resources.get("code_interpreter", {}).get("file_ids", ()))


def with_file(tool_resources: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """With one more file, if it is not there yet. Raises Rejected for the 21st."""
    before = files_of(tool_resources)
    if file_id in before:
        return dict(tool_resources)
    if len(before) >= MAX_FILES:
        message = f"An assistant can have at most {MAX_FILES} files."
        raise Rejected(message, param="file_id", code="array_above_max_length")
    return {**tool_resources, "code_interpreter": {"file_ids": [*before, file_id]}}


def without_file(tool_resources: Mapping[str, Any], file_id: str) -> dict[str, Any]:
    """Raises FileNotFound where it does not have the file."""
    before = files_of(tool_resources)
    if file_id not in before:
        raise FileNotFound(file_id)
    return {**tool_resources, "code_interpreter": {"file_ids": [id for id in before if id != file_id]}}
