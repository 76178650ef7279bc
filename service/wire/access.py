"""Requests for what is handed out for a while: stream tokens and links to files. Ours: the original has none."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, Strict

from service.wire.api import Json
from service.wire.fields import Request
from service.wire.requests import parsed

# Seconds. A page asks for a new token when its stream ends; a link may lie in a mail for some days.
MAX_STREAM_TOKEN, STREAM_TOKEN = 3600, 600
MAX_FILE_LINK, FILE_LINK = 7 * 24 * 3600, 3600


class StreamToken(Request):
    expires_in: Annotated[int, Strict(), Field(ge=1, le=MAX_STREAM_TOKEN)] = STREAM_TOKEN


class FileLink(Request):
    expires_in: Annotated[int, Strict(), Field(ge=1, le=MAX_FILE_LINK)] = FILE_LINK


def stream_token_seconds(body: Any) -> int:
    return parsed(StreamToken, body).expires_in


def file_link_seconds(body: Any) -> int:
    return parsed(FileLink, body).expires_in


def stream_token(thread_id: str, token: str, expires_at: int, url: str) -> Json:
    return {
        "object": "thread.stream_token",
        "thread_id": thread_id,
        "token": token,
        "expires_at": expires_at,
        "url": url,
    }


def file_link(file_id: str, expires_at: int, url: str) -> Json:
    return {"object": "file.link", "file_id": file_id, "expires_at": expires_at, "url": url}
