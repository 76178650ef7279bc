"""Samples of webhook endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from events.objects import Json
from events.webhook_endpoint import WebhookEndpoint
from service.wire import webhooks

_AT = 1
_MOMENT = datetime.fromtimestamp(_AT, UTC)


def endpoint_samples() -> dict[str, list[Json]]:
    """Returns samples by name."""
    return {
        "WebhookEndpoint": list(_endpoints()),
        "NewWebhookEndpoint": [webhooks.render_new_endpoint(one, "whsec_") for one in _endpoints()],
        "WebhookEndpointSecret": [webhooks.render_new_secret("we_1", "whsec_", at) for at in (_MOMENT, None)],
        "WebhookEndpointTest": [
            webhooks.render_test("we_1", status=200, error=None, seconds=1),
            webhooks.render_test("we_1", status=None, error="e", seconds=1),
        ],
        "WebhookDeliveries": [
            webhooks.render_deliveries([_delivery(attempts) for attempts in (0, 1)], more=False),
            webhooks.render_deliveries([], more=True),
        ],
        "WebhookRetry": [webhooks.render_retry("we_1", 1)],
        "DeletedWebhookEndpoint": [webhooks.render_deleted_endpoint("we_1")],
    }


def _endpoints() -> Iterator[Json]:
    shown = WebhookEndpoint(
        id="we_1",
        created_at=_AT,
        url="u",
        description="d",
        events=["thread.run.completed"],
        status="disabled",
        disabled_reason="r",
    )
    yield webhooks.render_endpoint(shown, delivered_at=_MOMENT, failing_since=_MOMENT, last_error="e")
    plain = replace(shown, description=None, status="enabled", disabled_reason=None)
    yield webhooks.render_endpoint(plain, delivered_at=None, failing_since=None, last_error=None)


def _delivery(attempts: int) -> Json:
    return webhooks.render_delivery(
        thread_id="thread_1", version=1, type="run.completed", attempts=attempts, due_at=_MOMENT
    )
