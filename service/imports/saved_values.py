"""Readers of values in saved objects, which may be missing or have any type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from events.objects import Json


def object_of(place: Mapping[str, Any], name: str) -> Json:
    value = place.get(name)
    return value if isinstance(value, dict) else {}


def list_of(place: Mapping[str, Any], name: str) -> list[Any]:
    value = place.get(name)
    return value if isinstance(value, list) else []


def text_of(place: Mapping[str, Any], name: str, default: str | None) -> str | None:
    value = place.get(name)
    return value if isinstance(value, str) else default


def count_of(place: Json, name: str) -> int:
    value = place.get(name)
    return value if type(value) is int and 0 <= value < 2**53 else 0


def load_reason(details: Json | None) -> str | None:
    return text_of(details, "reason", None) if details else None


def load_last_error(error: Json | None) -> Json | None:
    if not error:
        return None
    return {"code": text_of(error, "code", "server_error"), "message": text_of(error, "message", "")}


def load_usage(usage: Json | None) -> dict[str, int] | None:
    """Returns the counts of tokens, in the spellings of the original and of its documents."""
    if not usage:
        return None
    prompt = object_of(usage, "prompt_token_details") or object_of(usage, "prompt_tokens_details")
    return {
        "prompt_tokens": count_of(usage, "prompt_tokens"),
        "completion_tokens": count_of(usage, "completion_tokens"),
        "cached_tokens": count_of(prompt, "cached_tokens"),
        "reasoning_tokens": count_of(object_of(usage, "completion_tokens_details"), "reasoning_tokens"),
    }
