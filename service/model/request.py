"""A ChatRequest as the JSON that an upstream takes."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

import orjson

from service.model.base import ChatRequest
from service.model.catalog import LimitField, Route

USAGE_FIELD = "stream_options"
_REASONING = ("o[134]*", "gpt-5*")  # refuse temperature and top_p, in part even their defaults


def body_of(route: Route, request: ChatRequest, refused: Collection[str] = ()) -> bytes:
    """The request's body. `refused` names fields that this upstream turned out not to take."""
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
    reasons = any(fnmatchcase(name.rsplit("/", 1)[-1], pattern) for pattern in _REASONING)
    for key in ("temperature", "top_p"):
        value = getattr(request, key)
        if value is not None and not (reasons and value == 1):  # what the API defaults to says nothing
            body[key] = value
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    limit = limit_field(route, refused)
    if request.max_completion_tokens is not None and limit is not None:
        body[limit] = request.max_completion_tokens
    return orjson.dumps(body)


def limit_field(route: Route, refused: Collection[str]) -> LimitField | None:
    """How the limit is called for this upstream; None where it takes neither name."""
    names: tuple[LimitField, ...] = (route.limit_field, "max_completion_tokens", "max_tokens")
    return next((name for name in names if name not in refused), None)
