"""Parses and renders policies of retention and legal holds. They are objects of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, Strict, StringConstraints

from events.errors import Rejection
from events.objects import Json
from service.wire.fields import Metadata, RequestBody
from service.wire.organization_projects import OrganizationPageQuery, parse_organization_page
from service.wire.query import parse_id
from service.wire.requests import parse_body

# 100 years.
MAX_DAYS = 36_525
MAX_REASON = 512
MAX_ID = 256
Days = Annotated[int, Strict(), Field(ge=1, le=MAX_DAYS)]
_Reason = StringConstraints(strict=True, min_length=1, max_length=MAX_REASON, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
_Id = StringConstraints(strict=True, min_length=1, max_length=MAX_ID, pattern=r"^[^\x00]+$")


class RetentionRequest(RequestBody):
    """The body that sets the policy of a project. A rule that is null does not apply; one that is absent stays."""

    delete_idle_threads_after_days: Days | None = None
    keep_threads_for_days: Days | None = None


class NewHold(RequestBody):
    """The body that places a hold: on a thread, on threads by metadata, or on all threads of the project."""

    project_id: Annotated[str, _Id]
    reason: Annotated[str, _Reason]
    thread_id: Annotated[str, _Id] | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class HoldPageQuery:
    page: OrganizationPageQuery
    project_id: str | None


def parse_policy(body: Any) -> Mapping[str, int | None]:
    """Returns the rules that the body names. Raises Rejection if the body is invalid."""
    request = parse_body(RetentionRequest, body)
    return {name: getattr(request, name) for name in request.model_fields_set}


def parse_hold(body: Any) -> NewHold:
    """Raises Rejection if the body is invalid."""
    request = parse_body(NewHold, body)
    if request.thread_id is not None and request.metadata is not None:
        raise Rejection("A hold has a thread_id or metadata, not both.", param="metadata", code="invalid_value")
    if request.metadata == {}:
        raise Rejection("Metadata of a hold need a pair.", param="metadata", code="invalid_value")
    return request


def parse_hold_page(query: Mapping[str, str]) -> HoldPageQuery:
    """Raises Rejection if the query is invalid."""
    return HoldPageQuery(parse_organization_page(query), parse_id(query, "project_id"))


def render_policy(project_id: str, idle_days: int | None, keep_days: int | None) -> Json:
    return {
        "object": "organization.project.retention",
        "project_id": project_id,
        "delete_idle_threads_after_days": idle_days,
        "keep_threads_for_days": keep_days,
    }


def render_hold(
    id: str,
    *,
    project_id: str,
    thread_id: str | None,
    metadata: Json | None,
    reason: str,
    placed_at: datetime,
    ended_at: datetime | None,
) -> Json:
    return {
        "id": id,
        "object": "organization.hold",
        "project_id": project_id,
        "thread_id": thread_id,
        "metadata": metadata,
        "reason": reason,
        "placed_at": int(placed_at.timestamp()),
        "ended_at": None if ended_at is None else int(ended_at.timestamp()),
        "status": "active" if ended_at is None else "ended",
    }
