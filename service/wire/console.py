"""Parses requests to sign in to the console, and renders who is signed in. The original API has neither."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, Strict

from events.errors import Rejection
from events.objects import Json
from service.wire.fields import RequestBody
from service.wire.requests import parse_body

MAX_CREDENTIAL = 2_048


class SignIn(RequestBody):
    """One of both: an API key, or the text of a link that a start printed."""

    api_key: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_CREDENTIAL)] | None = None
    link: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_CREDENTIAL)] | None = None


def parse_sign_in(body: Any) -> SignIn:
    """Returns the request. Raises Rejection if it has no credential, or both."""
    asked = parse_body(SignIn, body)
    if (asked.api_key is None) == (asked.link is None):
        raise Rejection("Give an API key or a link.", param="api_key")
    return asked


def render_session(*, session_id: str, key_id: str, scope: str, project_id: str, expires_at: int, version: str) -> Json:
    return {
        "object": "console.session",
        "id": session_id,
        "key_id": key_id,
        "scope": scope,
        "project_id": project_id,
        "expires_at": expires_at,
        "version": version,
    }
