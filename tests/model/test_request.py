"""The body of a call is one JSON object, although its messages and their parts are encoded one by one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.model.base import ChatRequest
from service.model.catalog import Catalog, Endpoint
from service.model.request import build_body

NAMES = '"messages":[] and "content":[]'
PARTS = [{"type": "text", "text": NAMES}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": NAMES}],
        [{"role": "user", "content": PARTS}, {"role": "assistant", "content": None, "tool_calls": []}],
        [{"role": "user", "content": []}, {"role": "tool", "tool_call_id": NAMES, "content": "x"}],
    ],
)
def test_the_body_holds_the_messages_unchanged(messages: list[dict[str, Any]]) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": NAMES}}
    request = ChatRequest(model=NAMES, messages=messages, tools=[tool], temperature=0.5)
    body = build_body(Catalog(Endpoint("http://gpu/v1")).route(NAMES), request)
    assert body == orjson.dumps(
        {
            "model": NAMES,
            "messages": messages,
            "tools": [tool],
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
