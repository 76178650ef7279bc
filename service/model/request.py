"""Encoding a ChatRequest as the JSON body for an upstream."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from service.model.base import ChatRequest, Json
from service.model.catalog import LimitField, ModelRoute
from service.model.message_forms import adapt_messages, other_forms
from service.model.refusals import STREAM_OPTIONS, STRICT, TOP_P_BESIDE_TEMPERATURE, sent_names

_SETTINGS = ("temperature", "top_p", "response_format", "reasoning_effort")


def build_body(route: ModelRoute, request: ChatRequest, refused: Collection[str] = ()) -> bytes:
    """Returns the body of the request. `refused` holds the names of all that this upstream has refused before."""
    return orjson.dumps(_fields(route, request, refused))


def refusable_names(route: ModelRoute, request: ChatRequest, refused: Collection[str]) -> frozenset[str]:
    """Returns the names of refusals that could concern the body of this request."""
    body = _fields(route, request, refused)
    return sent_names(body, other_forms(body["messages"]))


def _fields(route: ModelRoute, request: ChatRequest, refused: Collection[str]) -> dict[str, Any]:
    messages = adapt_messages(request.messages, refused) if refused else list(request.messages)
    body: dict[str, Any] = {"model": route.info.upstream_name, "messages": messages, "stream": True}
    if STREAM_OPTIONS not in refused:
        body[STREAM_OPTIONS] = {"include_usage": True}
    # Without tool_choice the model may call tools, so a run that forbids calls sends no tools.
    if request.tools and not (request.tool_choice == "none" and "tool_choice" in refused):
        body["tools"] = [_without_strict(tool) for tool in request.tools] if STRICT in refused else list(request.tools)
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(request, name) is not None and name not in refused:
                body[name] = getattr(request, name)
    for name in _SETTINGS:
        if getattr(request, name) is not None and name not in refused:
            body[name] = getattr(request, name)
    if TOP_P_BESIDE_TEMPERATURE in refused and "temperature" in body:
        body.pop("top_p", None)
    if STRICT in refused and "json_schema" in body.get("response_format", {}):
        body["response_format"] = _without_strict(body["response_format"])
    limit = _limit_field(route, refused)
    if request.max_completion_tokens is not None and limit is not None:
        body[limit] = request.max_completion_tokens
    return body


def _without_strict(wrapper: Json) -> dict[str, Any]:
    """Returns a tool or a response format without the field `strict` of its function or schema."""
    inner = wrapper["type"]
    return {**wrapper, inner: {name: value for name, value in wrapper[inner].items() if name != STRICT}}


def _limit_field(route: ModelRoute, refused: Collection[str]) -> LimitField | None:
    """Returns this upstream's name for the limit of tokens, or None if it rejects both names."""
    names: tuple[LimitField, ...] = (route.limit_field, "max_completion_tokens", "max_tokens")
    return next((name for name in names if name not in refused), None)
