"""Parses requests for stream tokens and signed links to files, and renders both. The original API has neither."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, Strict

from events.objects import Json
from service.wire.fields import RequestBody
from service.wire.requests import parse_body

# Lifetimes in seconds. A page asks for a new token when its stream ends; a link may wait in a mailbox for some days.
MAX_STREAM_TOKEN_S, STREAM_TOKEN_S = 3600, 600
MAX_FILE_LINK_S, FILE_LINK_S = 7 * 24 * 3600, 3600


class StreamToken(RequestBody):
    expires_in: Annotated[int, Strict(), Field(ge=1, le=MAX_STREAM_TOKEN_S)] = STREAM_TOKEN_S


class FileLink(RequestBody):
    expires_in: Annotated[int, Strict(), Field(ge=1, le=MAX_FILE_LINK_S)] = FILE_LINK_S


def parse_stream_token_seconds(body: Any) -> int:
    """Returns the lifetime that the request asks for, in seconds. Raises Rejection."""
    return parse_body(StreamToken, body).expires_in


def parse_file_link_seconds(body: Any) -> int:
    """Returns the lifetime that the request asks for, in seconds. Raises Rejection."""
    return parse_body(FileLink, body).expires_in


def render_stream_token(thread_id: str, token: str, expires_at: int, url: str) -> Json:
    return {
        "object": "thread.stream_token",
        "thread_id": thread_id,
        "token": token,
        "expires_at": expires_at,
        "url": url,
    }


def render_file_link(file_id: str, expires_at: int, url: str) -> Json:
    return {"object": "file.link", "file_id": file_id, "expires_at": expires_at, "url": url}
