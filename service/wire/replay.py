"""Parses and renders pages of a run's timeline. The original API has none; it is the same in v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.wire.fields import DEFAULT_PAGE, MAX_PAGE
from service.wire.query import parse_bounded_integer

_MAX_VERSION = 2**62


@dataclass(frozen=True, slots=True)
class ReplayQuery:
    """The query of a page: up to `limit` entries of events with versions above `after`."""

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class ReplayEntry:
    """An entry of a timeline: the version of its event, and the entry as JSON."""

    version: int
    json: bytes


def parse_replay_query(query: Mapping[str, str]) -> ReplayQuery:
    """Raises Rejection if `after` is no version, or `limit` is not an integer from 1 to MAX_PAGE."""
    return ReplayQuery(
        after=parse_bounded_integer(query, "after", 0, _MAX_VERSION, 0),
        limit=parse_bounded_integer(query, "limit", 1, MAX_PAGE, DEFAULT_PAGE),
    )


def render_replay_page(entries: Sequence[ReplayEntry], *, more: bool) -> dict[str, Any]:
    """Returns the page, for orjson. The next page begins after `last_version`, null if the page is empty."""
    return {
        "object": "list",
        "data": [orjson.Fragment(entry.json) for entry in entries],
        "last_version": entries[-1].version if entries else None,
        "has_more": more,
    }
