"""Converts the metadata values of v1 to strings, as the original stored them: the boolean true as "True"."""

from __future__ import annotations

from typing import Any

# Most values and characters of strings inside a list or object that is converted. The text of a larger one would be too
# long for metadata.
MAX_CONVERTED = 512


def to_metadata_texts(metadata: Any) -> Any:
    """Returns the metadata with the text of each value that is not a string, in Python's notation.

    The notation is that of the only recorded value, "True" (docs/behaviour.md, "Errors"). A list or object that
    exceeds MAX_CONVERTED stays as it is, and so does metadata that is no object: pydantic refuses them.
    """
    if not isinstance(metadata, dict):
        return metadata
    return {key: value if isinstance(value, str) or _is_large(value) else str(value) for key, value in metadata.items()}


def _is_large(value: Any) -> bool:
    """Whether a list or object has more than MAX_CONVERTED values and characters together."""
    rest, count = [value], 0
    while rest:
        item = rest.pop()
        if isinstance(item, str | list | dict):
            count += len(item)
        if count > MAX_CONVERTED:
            return True
        if isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
    return False
