"""Parses and renders ratings and notes of runs. The original has none; they are the same in v1 and v2."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from events.errors import Rejection
from events.objects import Json
from service.wire.fields import RequestBody
from service.wire.requests import parse_body

MAX_NOTE = 4096


class Review(RequestBody):
    """A rating, a note, or both."""

    rating: Literal["good", "bad"] | None = None
    note: Annotated[str, Strict(), Field(min_length=1, max_length=MAX_NOTE)] | None = None


def parse_review(body: Any) -> Review:
    """Raises Rejection if the body is invalid, or has neither a rating nor a note."""
    asked = parse_body(Review, body)
    if asked.rating is None and asked.note is None:
        raise Rejection("Give a 'rating', a 'note', or both.", param="rating", code="missing_required_parameter")
    return asked


def render_review(
    thread_id: str, run_id: str, *, version: int, at: datetime, rating: str | None, note: str | None, actor: str
) -> Json:
    """`version` is that of the event in the thread; `actor` is the one who rated."""
    return {
        "object": "thread.run.review",
        "thread_id": thread_id,
        "run_id": run_id,
        "version": version,
        "created_at": int(at.timestamp()),
        "rating": rating,
        "note": note,
        "actor": actor,
    }


def render_reviews(reviews: Sequence[Json], *, more: bool) -> Json:
    """Returns the page. The next page begins after `last_version`, null if the page is empty."""
    return {
        "object": "list",
        "data": list(reviews),
        "last_version": reviews[-1]["version"] if reviews else None,
        "has_more": more,
    }
