"""Parses the token counts of an answer, which servers write in several shapes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.model.base import ModelUsage

MAX_COUNT = 10**12  # tokens


def parse_usage(usage: Mapping[str, Any]) -> ModelUsage:
    """Returns the counts, under the names of chat completions or of the Responses API; missing ones are 0."""
    prompt = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return ModelUsage(
        prompt_tokens=_count(usage, "prompt_tokens") or _count(usage, "input_tokens"),
        completion_tokens=_count(usage, "completion_tokens") or _count(usage, "output_tokens"),
        cached_tokens=_count(prompt, "cached_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
    )


def _count(counts: object, key: str) -> int:
    """Returns a count, which servers may omit, set to null or write as a float or a text."""
    value = counts.get(key) if isinstance(counts, Mapping) else None
    try:
        count = int(value)  # type: ignore[arg-type]  # anything but a number or a text of digits raises
    except (TypeError, ValueError, OverflowError):
        return 0
    return min(max(0, count), MAX_COUNT)
