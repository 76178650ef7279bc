"""Webhook endpoints: ours alone, the same for every version of the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from events.webhook_endpoint import WebhookEndpoint
from service.wire.api import Json
from service.wire.fields import Description, Request
from service.wire.requests import parsed

MAX_URL = 2048
# Seconds for which a secret that was replaced may stay good, and does where nothing is said.
MAX_PREVIOUS, PREVIOUS = 7 * 24 * 3600, 24 * 3600

Url = Annotated[str, Strict(), Field(min_length=1, max_length=MAX_URL)]
# The names of events.webhook_endpoint.NAMES.
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
EventNames = Annotated[list[EventName], Field(min_length=1)]


class NewWebhookEndpoint(Request):
    """Without `events` it hears of all."""

    url: Url
    description: Description | None = None
    events: EventNames | None = None


class WebhookEndpointChange(Request):
    """What is absent stays as it is; so does what is null, but for `description`."""

    url: Url | None = None
    description: Description | None = None
    events: EventNames | None = None
    status: Literal["enabled", "disabled"] | None = None


class SecretRotation(Request):
    """How long the old secret stays good, in seconds."""

    previous_expires_in: Annotated[int, Strict(), Field(ge=0, le=MAX_PREVIOUS)] = PREVIOUS


def created(body: Any) -> NewWebhookEndpoint:
    """Raises Rejected."""
    return parsed(NewWebhookEndpoint, body)


def changes(body: Any) -> Json:
    """Raises Rejected."""
    asked = parsed(WebhookEndpointChange, body)
    named = {name: getattr(asked, name) for name in asked.model_fields_set}
    return {name: value for name, value in named.items() if value is not None or name == "description"}


def endpoint(
    shown: WebhookEndpoint,
    *,
    delivered_at: datetime | None,
    failing_since: datetime | None,
    last_error: str | None,
) -> Json:
    return {
        "id": shown.id,
        "object": "webhook_endpoint",
        "created_at": shown.created_at,
        "url": shown.url,
        "description": shown.description,
        "events": shown.events,
        "status": shown.status,
        "disabled_reason": shown.disabled_reason,
        "last_delivered_at": _seconds(delivered_at),
        "failing_since": _seconds(failing_since),
        "last_error": last_error,
    }


def new_endpoint(rendered: Json, secret: str) -> Json:
    """The one time that the secret is shown."""
    return {**rendered, "secret": secret}


def rotation_seconds(body: Any) -> int:
    """Raises Rejected."""
    return parsed(SecretRotation, body).previous_expires_in


def new_secret(endpoint_id: str, secret: str, previous_until: datetime | None) -> Json:
    """The one time that the secret is shown."""
    return {
        "object": "webhook_endpoint.secret",
        "endpoint_id": endpoint_id,
        "secret": secret,
        "previous_expires_at": _seconds(previous_until),
    }


def deleted(endpoint_id: str) -> Json:
    return {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}


def tested(endpoint_id: str, *, status: int | None, error: str | None, seconds: float) -> Json:
    return {
        "object": "webhook_endpoint.test",
        "endpoint_id": endpoint_id,
        "delivered": error is None,
        "status": status,
        "error": error,
        "ms": round(seconds * 1000),
    }


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
