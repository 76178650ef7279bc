"""Parses and renders webhook endpoints. The original API has none; they are the same in v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from events.objects import Json
from events.webhook_endpoint import WEBHOOK_EVENTS, WebhookEndpoint
from service.wire.fields import DEFAULT_PAGE, MAX_PAGE, Description, RequestBody
from service.wire.query import parse_bounded_integer
from service.wire.requests import parse_body

MAX_URL = 2048
# Seconds that a replaced secret stays valid: at most, and by default.
MAX_PREVIOUS_S, DEFAULT_PREVIOUS_S = 7 * 24 * 3600, 24 * 3600

Url = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_URL)]
# The same names as events.webhook_endpoint.NAMES.
EventName = Literal[
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.requires_action",
    "thread.run.cancelling",
    "thread.run.cancelled",
    "thread.run.completed",
    "thread.run.incomplete",
    "thread.run.failed",
    "thread.run.expired",
]
EventNames = Annotated[list[EventName], Field(fail_fast=True, min_length=1)]


class NewWebhookEndpoint(RequestBody):
    """Without `events`, the endpoint receives all events."""

    url: Url
    description: Description | None = None
    events: EventNames | None = None


class WebhookEndpointChange(RequestBody):
    """Absent fields keep their values, and so do null ones, except `description`."""

    url: Url | None = None
    description: Description | None = None
    events: EventNames | None = None
    status: Literal["enabled", "disabled"] | None = None


class SecretRotation(RequestBody):
    """How long the old secret stays good, in seconds."""

    previous_expires_in: Annotated[int, Strict(), Field(ge=0, le=MAX_PREVIOUS_S)] = DEFAULT_PREVIOUS_S


def parse_new_endpoint(body: Any) -> NewWebhookEndpoint:
    """Raises Rejection if the body is invalid."""
    return parse_body(NewWebhookEndpoint, body)


def parse_endpoint_changes(body: Any) -> Json:
    """Returns the fields to change. Raises Rejection if the body is invalid."""
    request = parse_body(WebhookEndpointChange, body)
    named = {name: getattr(request, name) for name in request.model_fields_set}
    return {name: value for name, value in named.items() if value is not None or name == "description"}


def render_endpoint(
    endpoint: WebhookEndpoint,
    *,
    delivered_at: datetime | None,
    failing_since: datetime | None,
    last_error: str | None,
) -> Json:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": endpoint.created_at,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": endpoint.events,
        "status": endpoint.status,
        "disabled_reason": endpoint.disabled_reason,
        "last_delivered_at": _seconds(delivered_at),
        "failing_since": _seconds(failing_since),
        "last_error": last_error,
    }


def render_new_endpoint(endpoint: Json, secret: str) -> Json:
    """Adds the secret to a rendered endpoint. No other response shows it."""
    return {**endpoint, "secret": secret}


def parse_rotation_seconds(body: Any) -> int:
    """Returns the seconds that the old secret stays valid. Raises Rejection if the body is invalid."""
    return parse_body(SecretRotation, body).previous_expires_in


def render_new_secret(endpoint_id: str, secret: str, previous_until: datetime | None) -> Json:
    """Shows the secret. No other response shows it."""
    return {
        "object": "webhook_endpoint.secret",
        "endpoint_id": endpoint_id,
        "secret": secret,
        "previous_expires_at": _seconds(previous_until),
    }


def render_deleted_endpoint(endpoint_id: str) -> Json:
    return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}


def render_test(endpoint_id: str, *, status: int | None, error: str | None, seconds: float) -> Json:
    return {
        "object": "webhook_endpoint.test",
        "endpoint_id": endpoint_id,
        "delivered": error is None,
        "status": status,
        "error": error,
        "ms": round(seconds * 1000),
    }


def parse_delivery_limit(query: Mapping[str, str]) -> int:
    """Raises Rejection if `limit` is not an integer from 1 to MAX_PAGE."""
    return parse_bounded_integer(query, "limit", 1, MAX_PAGE, DEFAULT_PAGE)


def render_delivery(*, thread_id: str, version: int, type: str, attempts: int, due_at: datetime) -> Json:
    """Returns a message that waits: `retrying` if an attempt has failed."""
    return {
        "object": "webhook_endpoint.delivery",
        "thread_id": thread_id,
        "version": version,
        "type": WEBHOOK_EVENTS.get(type, type),
        "status": "retrying" if attempts else "waiting",
        "attempts": attempts,
        "next_attempt_at": _seconds(due_at),
    }


def render_deliveries(deliveries: Sequence[Json], *, more: bool) -> Json:
    return {"object": "list", "data": list(deliveries), "has_more": more}


def render_retry(endpoint_id: str, count: int) -> Json:
    return {"object": "webhook_endpoint.retry", "endpoint_id": endpoint_id, "retried": count}


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
