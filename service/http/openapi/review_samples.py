"""Samples of ratings and notes of runs."""

from __future__ import annotations

from datetime import UTC, datetime

from events.objects import Json
from service.wire.reviews import render_review, render_reviews


def review_samples() -> dict[str, list[Json]]:
    """Returns samples by name."""
    at = datetime.fromtimestamp(1, UTC)
    reviews = [
        render_review("thread_1", "run_1", version=1, at=at, rating=rating, note=note, actor="key:key_1")
        for rating, note in (("good", None), (None, "n"))
    ]
    return {
        "RunReview": reviews,
        "RunReviews": [render_reviews(reviews, more=True), render_reviews([], more=False)],
    }
