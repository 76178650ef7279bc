"""Parses the conditions of GET /v1/threads beside those of all lists: words, an assistant, and a status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from events.errors import Rejection
from events.objects import RunStatus
from service.wire import storable_text
from service.wire.query import parse_id
from service.wire.request_types import ThreadSearch
from service.wire.validation_errors import invalid_value

PARAMETERS = frozenset({"query", "assistant_id", "status"})
STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
MAX_TEXT = 256  # characters


def parse_thread_search(query: Mapping[str, str]) -> ThreadSearch | None:
    """Returns the conditions, or None if there are none: an empty parameter is none. Raises Rejection."""
    text, status = query.get("query") or None, query.get("status") or None
    if text is not None and not storable_text.is_storable(text):
        raise storable_text.unstorable("query")
    if text is not None and len(text) > MAX_TEXT:
        raise Rejection(
            f"Invalid 'query': string too long. Expected a string with maximum length {MAX_TEXT}.",
            param="query",
            code="string_above_max_length",
        )
    if status is not None and status not in STATUSES:
        raise invalid_value("status", status, STATUSES)
    assistant_id = parse_id(query, "assistant_id")
    if text is None and assistant_id is None and status is None:
        return None
    return ThreadSearch(text=text, assistant_id=assistant_id, status=status)
