"""Parses and renders GET /v1/organization/usage/completions and /v1/organization/costs, in the original's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from events.errors import Rejection
from service.wire import storable_text
from service.wire.query import MAX_SECONDS
from service.wire.validation_errors import invalid_value

# Seconds of a bucket, and the default and the most buckets of a page.
WIDTHS: Mapping[str, tuple[int, int, int]] = {
    "1m": (60, 60, 1440),
    "1h": (3600, 24, 168),
    "1d": (86_400, 7, 31),
}
DEFAULT_COST_BUCKETS, MAX_COST_BUCKETS = 7, 180
MAX_VALUES = 100
# The groups of the original. Everthread has no batches, users and tiers: their groups are null.
USAGE_GROUPS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")
COST_GROUPS = ("project_id", "user_id", "line_item", "api_key_id")
LISTS = ("project_ids", "api_key_ids", "models", "assistant_ids", "user_ids", "group_by", "line_items")
# The groups of runs, which the original does not report.
RUN_GROUPS = ("project_id", "api_key_id", "model", "assistant_id")
FAILURE_GROUPS = ("model", "assistant_id")
_PAGE = "page_"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """The query of a page: `limit` buckets of `width_s` seconds from `start` on, before `end`, in Unix seconds.

    `start` is the beginning of a bucket. Filters that are None let all through. `is_empty` if the query asks only for
    calls of users or of batches, of which there are none.
    """

    start: int
    end: int
    width_s: int
    limit: int
    groups: tuple[str, ...]
    projects: tuple[str, ...] | None
    keys: tuple[str, ...] | None
    models: tuple[str, ...] | None
    assistants: tuple[str, ...] | None
    line_items: tuple[str, ...] | None
    is_empty: bool

    @property
    def page_end(self) -> int:
        """The end of the page, not included."""
        return min(self.end, self.start + self.limit * self.width_s)


def parse_usage_query(
    query: Mapping[str, str],
    lists: Mapping[str, Sequence[str]],
    now: datetime,
    groups: Sequence[str] = USAGE_GROUPS,
) -> UsageQuery:
    """`lists` are the values of the repeatable parameters, by name. Raises Rejection."""
    width = query.get("bucket_width") or "1d"
    if width not in WIDTHS:
        raise invalid_value("bucket_width", width, tuple(WIDTHS))
    if query.get("batch") not in (None, "", "true", "false"):
        raise invalid_value("batch", query["batch"], ("true", "false"))
    seconds, default, most = WIDTHS[width]
    return _parse(query, lists, now, width_s=seconds, default=default, most=most, groups=groups)


def parse_cost_query(query: Mapping[str, str], lists: Mapping[str, Sequence[str]], now: datetime) -> UsageQuery:
    """As `parse_usage_query`; buckets of costs are days."""
    width = query.get("bucket_width") or "1d"
    if width != "1d":
        raise invalid_value("bucket_width", width, ("1d",))
    limits = {"default": DEFAULT_COST_BUCKETS, "most": MAX_COST_BUCKETS}
    return _parse(query, lists, now, width_s=WIDTHS["1d"][0], groups=COST_GROUPS, **limits)


def _parse(
    query: Mapping[str, str],
    lists: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    width_s: int,
    default: int,
    most: int,
    groups: Sequence[str],
) -> UsageQuery:
    for name, values in lists.items():
        if len(values) > MAX_VALUES or not all(map(storable_text.is_storable, values)):
            message = f"Invalid '{name}': must be at most {MAX_VALUES} texts."
            raise Rejection(message, param=name, code="invalid_value")
    for group in lists["group_by"]:
        if group not in groups:
            raise invalid_value("group_by", group, groups)
    start = _parse_number(query, "start_time", 0, MAX_SECONDS)
    if start is None:
        raise Rejection(
            "Missing required parameter: 'start_time'.", param="start_time", code="missing_required_parameter"
        )
    tomorrow = int((now + timedelta(days=1)).timestamp())
    end = _parse_number(query, "end_time", 0, MAX_SECONDS)
    if end is not None and end <= start:
        message = "Invalid 'end_time': must be later than 'start_time'."
        raise Rejection(message, param="end_time", code="invalid_value")
    limit = _parse_number(query, "limit", 1, most)
    first = start - start % width_s
    return UsageQuery(
        start=_parse_page(query, width_s, first),
        end=tomorrow - tomorrow % width_s if end is None else end,
        width_s=width_s,
        limit=limit or default,
        groups=tuple(lists["group_by"]),
        projects=tuple(lists["project_ids"]) or None,
        keys=tuple(lists["api_key_ids"]) or None,
        models=tuple(lists["models"]) or None,
        assistants=tuple(lists["assistant_ids"]) or None,
        line_items=tuple(lists["line_items"]) or None,
        is_empty=bool(lists["user_ids"]) or query.get("batch") == "true",
    )


def _parse_number(query: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    given = query.get(name)
    if not given:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 18 or not least <= int(given) <= most:
        message = f"Invalid '{name}': must be an integer from {least} to {most}."
        raise Rejection(message, param=name, code="invalid_value")
    return int(given)


def _parse_page(query: Mapping[str, str], width_s: int, first: int) -> int:
    given = query.get("page")
    if not given:
        return first
    digits = given.removeprefix(_PAGE)
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 18
    if not given.startswith(_PAGE) or not is_number or int(digits) > MAX_SECONDS:
        raise Rejection(f"Invalid 'page': '{given[:64]}' is no page.", param="page", code="invalid_value")
    return max(first, int(digits) - int(digits) % width_s)


def render_usage_result(
    query: UsageQuery,
    *,
    project_id: str | None,
    key_id: str | None,
    model: str | None,
    input_tokens: int,
    cached_tokens: int,
    output_tokens: int,
    calls: int,
) -> dict[str, Any]:
    """Returns the usage of one group in a bucket."""
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "input_cached_tokens": cached_tokens,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": calls,
        "project_id": project_id,
        "user_id": None,
        "api_key_id": key_id,
        "model": model,
        "batch": False if "batch" in query.groups else None,
        "service_tier": None,
    }


def render_cost_result(
    *, dollars: float, line_item: str | None, project_id: str | None, key_id: str | None
) -> dict[str, Any]:
    """Returns the costs of one group in a bucket."""
    return {
        "object": "organization.costs.result",
        "amount": {"value": dollars, "currency": "usd"},
        "line_item": line_item,
        "project_id": project_id,
        "api_key_id": key_id,
    }


def render_bucket_page(query: UsageQuery, results: Mapping[int, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the page of buckets. `results` are those of buckets that have any, by the start of the bucket."""
    starts = range(query.start, query.page_end, query.width_s)
    has_more = query.page_end < query.end
    return {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": start,
                "end_time": start + query.width_s,
                "results": list(results.get(start, ())),
            }
            for start in starts
        ],
        "has_more": has_more,
        "next_page": f"{_PAGE}{query.page_end}" if has_more else None,
    }


def moment(seconds: int) -> datetime:
    """Returns the time of Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)
