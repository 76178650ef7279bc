"""Encoding a ChatRequest as the JSON body for an upstream."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

import orjson

from service.model.base import ChatRequest
from service.model.catalog import LimitField, ModelRoute

USAGE_FIELD = "stream_options"
_REASONING = ("o[134]*", "gpt-5*")  # reject temperature and top_p, some of them even with the default values


def build_body(route: ModelRoute, request: ChatRequest, refused: Collection[str] = ()) -> bytes:
    """Returns the body of the request. `refused` holds the fields that this upstream has rejected before."""
    name = route.info.upstream_name
    body: dict[str, Any] = {"model": name, "messages": list(request.messages), "stream": True}
    if USAGE_FIELD not in refused:
        body[USAGE_FIELD] = {"include_usage": True}
    if request.tools:
        body["tools"] = list(request.tools)
        if request.tool_choice is not None:
            body["tool_choice"] = request.tool_choice
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    is_reasoning = any(fnmatchcase(name.rsplit("/", 1)[-1], pattern) for pattern in _REASONING)
    for key in ("temperature", "top_p"):
        value = getattr(request, key)
        if value is not None and not (is_reasoning and value == 1):  # 1 is the default of the API
            body[key] = value
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    limit = limit_field(route, refused)
    if request.max_completion_tokens is not None and limit is not None:
        body[limit] = request.max_completion_tokens
    return orjson.dumps(body)


def limit_field(route: ModelRoute, refused: Collection[str]) -> LimitField | None:
    """Returns this upstream's name for the limit of tokens, or None if it rejects both names."""
    names: tuple[LimitField, ...] = (route.limit_field, "max_completion_tokens", "max_tokens")
    return next((name for name in names if name not in refused), None)
