"""Webhook messages: an envelope around a run, with an id that is the same at every attempt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from standardwebhooks import Webhook

from events.envelope import RecordedEvent
from events.ids import hex_id_of
from events.objects import Run
from events.webhook_endpoint import WEBHOOK_EVENTS
from service.wire import v2

TEST = "webhook.test"


def run_message(event: RecordedEvent[Any], run: Run) -> tuple[str, bytes]:
    """Returns (id, body) of the message about an event of a run. `run` is the run after that event; v2 renders it."""
    id = hex_id_of("evt", f"{event.stream_id}:{event.version}")
    return id, _body(id, WEBHOOK_EVENTS[event.event.type], event.seconds, v2.WIRE.render_run(run))


def test_message(id: str, endpoint_id: str, at: datetime) -> bytes:
    """Returns the body of a message about no event, with which a user tests an endpoint."""
    return _body(id, TEST, int(at.timestamp()), {"object": "webhook_endpoint", "id": endpoint_id})


def headers(secrets: Sequence[str], id: str, body: bytes, at: datetime) -> dict[str, str]:
    """Returns the headers of Standard Webhooks. Each attempt is signed with its own time, by each of the secrets."""
    signed = [Webhook(secret).sign(id, at.astimezone(UTC), body.decode()) for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signed),
    }


def _body(id: str, type: str, created_at: int, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"id": id, "object": "event", "type": type, "created_at": created_at, "data": data})
