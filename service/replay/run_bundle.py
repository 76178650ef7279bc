"""A bundle of a run for a bug report: its timeline with each text replaced by its length and kind. Pure.

Only what is known to hold no text stays: numbers, generated ids, words of the API, and names of functions and models.
Everything else is replaced, so a field that is added later is replaced too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

FORMAT = "everthread-run-bundle/1"
# Objects whose keys or numbers may come from clients, models or files: only their size stays.
_OPAQUE_NAMES = "arguments attributes filters images json_schema metadata output parameters ranking_options schema"
_OPAQUE = frozenset(_OPAQUE_NAMES.split())
# Fields that are left out: they repeat texts, or a hash of a text, from which a short text could be guessed.
_LEFT_OUT_NAMES = "summary action actor sha256 request_id body"
_LEFT_OUT = frozenset(_LEFT_OUT_NAMES.split())
_WORD_KEYS_NAMES = (
    "code fidelity finish_reason form incomplete_reason kind limit_field object outcome reason role status "
    "tool_choice truncation_strategy type"
)
_WORD_KEYS = frozenset(_WORD_KEYS_NAMES.split())
_ID_KEYS_NAMES = (
    "assistant_id call_id file_id file_ids id ids message_id message_step_id run_id step_id tool_call_id "
    "tool_step_id vector_store_ids"
)
_ID_KEYS = frozenset(_ID_KEYS_NAMES.split())
# The key `name` of a function. Other names, such as those of files, are texts.
_FUNCTION_NAME = "function.name"
_WORD = re.compile(r"[a-z][a-z0-9_.]{0,39}")
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
_ID = re.compile(r"(?:asst|call|msg|run|step|thread|upload|vs|vsfb)_[A-Za-z0-9]{1,32}|file-[A-Za-z0-9]{1,32}")
_KEY = re.compile(r"[a-z_0-9]{1,40}")


def make_bundle(entries: Sequence[Mapping[str, Any]], *, software: str, run_id: str) -> dict[str, Any]:
    """Returns the bundle of a run. `entries` are the JSON of `RunView`, `software` is the version of this program."""
    return {
        "format": FORMAT,
        "software": software,
        "run_id": run_id,
        "entries": [
            {**_clean_object(entry), "at": entry["at"], "actor": str(entry["actor"]).split(":")[0]} for entry in entries
        ],
    }


def _clean_object(value: Mapping[str, Any], *, is_function: bool = False) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for number, (key, field) in enumerate(value.items()):
        if key not in _LEFT_OUT:
            path = _FUNCTION_NAME if is_function and key == "name" else key
            cleaned[key if _KEY.fullmatch(key) else f"key {number}"] = _clean(path, field)
    return cleaned


def _clean(key: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if key in _OPAQUE:
        return _describe(key, value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return value if _is_safe(key, value) else _describe(key, value)
    if isinstance(value, list):
        return [_clean(key, one) for one in value]
    if isinstance(value, dict):
        return _clean_object(value, is_function=key == "function")
    return _describe(key, value)


def _is_safe(key: str, text: str) -> bool:
    """Whether the text is a word of the API, a generated id, or the name of a function or a model."""
    if key in _WORD_KEYS:
        return _WORD.fullmatch(text) is not None
    if key in _ID_KEYS:
        return _ID.fullmatch(text) is not None
    return key in (_FUNCTION_NAME, "model") and _NAME.fullmatch(text) is not None


def _describe(key: str, value: Any) -> str:
    if isinstance(value, str):
        return f"<{_kind(key)}: {len(value):,} characters>"
    size = f"{len(value):,} entries, " if isinstance(value, list | dict) else ""
    return f"<{_kind(key)}: {size}{len(orjson.dumps(value)):,} bytes>"


def _kind(key: str) -> str:
    return key if _KEY.fullmatch(key) else "text"
