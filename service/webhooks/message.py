"""What is sent: an envelope around the run as it was, under an id that is the same however often it is sent. Pure."""

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


def told(event: RecordedEvent[Any], run: Run) -> tuple[str, bytes]:
    """(id, body) of the message that tells of an event of a run; the run is shown as v2 shows it."""
    id = hex_id_of("evt", f"{event.stream_id}:{event.version}")
    return id, _body(id, WEBHOOK_EVENTS[event.event.type], event.seconds, v2.WIRE.render_run(run))


def test_message(id: str, endpoint_id: str, at: datetime) -> bytes:
    """A message that tells of nothing, to see whether messages arrive."""
    return _body(id, TEST, int(at.timestamp()), {"object": "webhook_endpoint", "id": endpoint_id})


def headers(secrets: Sequence[str], id: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks: every attempt is signed anew, with its own time, by each of the secrets."""
    signed = [Webhook(secret).sign(id, at.astimezone(UTC), body.decode()) for secret in secrets]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signed),
    }


def _body(id: str, type: str, created_at: int, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"id": id, "object": "event", "type": type, "created_at": created_at, "data": data})
