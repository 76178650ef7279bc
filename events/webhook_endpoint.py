"""The stream of a webhook endpoint: created, modified, disabled, deleted.

The log never holds an endpoint's secret: a reader of the log could forge messages that receivers trust.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from events.envelope import Event, JsonObject, RecordedEvent
from events.errors import NotFound, Rejection

STATE_SCHEMA = 1

Status = Literal["enabled", "disabled"]

# The names of the events that endpoints subscribe to, by the type of the event in the log.
WEBHOOK_EVENTS = {
    "run.created": "thread.run.created",
    "run.queued": "thread.run.queued",
    "run.started": "thread.run.in_progress",
    "run.requires_action": "thread.run.requires_action",
    "run.cancelling": "thread.run.cancelling",
    "run.cancelled": "thread.run.cancelled",
    "run.completed": "thread.run.completed",
    "run.incomplete": "thread.run.incomplete",
    "run.failed": "thread.run.failed",
    "run.expired": "thread.run.expired",
}


class WebhookEndpointCreated(Event):
    """`events` are names of WEBHOOK_EVENTS. The endpoint's project is that of the event."""

    type: Literal["webhook_endpoint.created"] = "webhook_endpoint.created"
    url: str
    description: str | None
    events: list[str]


class WebhookEndpointModified(Event):
    """`changes` holds the fields that the request named: `url`, `description`, `events`, `status`."""

    type: Literal["webhook_endpoint.modified"] = "webhook_endpoint.modified"
    changes: JsonObject


class WebhookSecretRotated(Event):
    """The endpoint has a new secret. Messages are also signed with the old one for `previous_expires_in` seconds."""

    type: Literal["webhook_endpoint.secret_rotated"] = "webhook_endpoint.secret_rotated"
    previous_expires_in: int


class WebhookEndpointDisabled(Event):
    """The server disabled the endpoint; `reason` is a sentence for people."""

    type: Literal["webhook_endpoint.disabled"] = "webhook_endpoint.disabled"
    reason: str


class WebhookEndpointDeleted(Event):
    type: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"


WebhookEvent = (
    WebhookEndpointCreated
    | WebhookEndpointModified
    | WebhookSecretRotated
    | WebhookEndpointDisabled
    | WebhookEndpointDeleted
)


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """An endpoint without the state of its deliveries. `disabled_reason` is null unless the server disabled it."""

    id: str
    created_at: int
    url: str
    description: str | None
    events: list[str]
    status: Status = "enabled"
    disabled_reason: str | None = None


def initial_endpoint(recorded: RecordedEvent[WebhookEndpointCreated]) -> WebhookEndpoint:
    event = recorded.event
    return WebhookEndpoint(
        id=recorded.stream_id,
        created_at=recorded.seconds,
        url=event.url,
        description=event.description,
        events=event.events,
    )


def endpoint_patch(event: WebhookEndpointModified | WebhookEndpointDisabled) -> dict[str, Any]:
    """Returns the fields of the endpoint that the event replaces. A new `status` clears `disabled_reason`."""
    match event:
        case WebhookEndpointModified(changes=changes):
            return {**changes, **({"disabled_reason": None} if "status" in changes else {})}
        case WebhookEndpointDisabled(reason=reason):
            return {"status": "disabled", "disabled_reason": reason}
        case _:
            assert_never(event)


@dataclass(frozen=True, slots=True)
class WebhookState:
    id: str
    exists: bool = False
    status: Status = "enabled"


@dataclass(frozen=True, slots=True)
class CreateEndpoint:
    url: str
    description: str | None
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModifyEndpoint:
    changes: JsonObject


@dataclass(frozen=True, slots=True)
class RotateSecret:
    previous_expires_in: int


@dataclass(frozen=True, slots=True)
class DisableEndpoint:
    """Does nothing if the endpoint is disabled or does not exist."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeleteEndpoint:
    pass


WebhookCommand = CreateEndpoint | ModifyEndpoint | RotateSecret | DisableEndpoint | DeleteEndpoint


def decide(state: WebhookState, command: WebhookCommand, at: datetime) -> list[WebhookEvent]:
    """Raises NotFound if the endpoint does not exist, and Rejection if one with this id exists already."""
    if isinstance(command, ModifyEndpoint | RotateSecret | DeleteEndpoint) and not state.exists:
        raise NotFound("webhook_endpoint", state.id)
    match command:
        case CreateEndpoint(url=url, description=description, events=events):
            if state.exists:
                raise Rejection(f"Webhook endpoint {state.id} already exists.")
            return [WebhookEndpointCreated(url=url, description=description, events=list(events))]
        case ModifyEndpoint(changes=changes):
            return [WebhookEndpointModified(changes=changes)] if changes else []
        case RotateSecret(previous_expires_in=seconds):
            return [WebhookSecretRotated(previous_expires_in=seconds)]
        case DisableEndpoint(reason=reason):
            is_enabled = state.exists and state.status == "enabled"
            return [WebhookEndpointDisabled(reason=reason)] if is_enabled else []
        case DeleteEndpoint():
            return [WebhookEndpointDeleted()]
        case _:
            assert_never(command)


def evolve(state: WebhookState, recorded: RecordedEvent[WebhookEvent]) -> WebhookState:
    match recorded.event:
        case WebhookEndpointCreated():
            return replace(state, exists=True)
        case WebhookEndpointModified(changes=changes):
            return replace(state, status=changes.get("status", state.status))
        case WebhookSecretRotated():
            return state
        case WebhookEndpointDisabled():
            return replace(state, status="disabled")
        case WebhookEndpointDeleted():
            return WebhookState(state.id)
        case _:
            assert_never(recorded.event)
