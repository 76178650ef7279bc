"""Webhook endpoints, and the outbox of events to deliver.

Rows of the outbox are written with the events (`event_log.append`). Deliveries and their results are not events, and a
rebuild does not change them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

from events import event_log
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_run, run_patch
from events.objects import Run
from events.thread import events as e
from events.webhook_endpoint import (
    WEBHOOK_EVENTS,
    WebhookEndpoint,
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointModified,
    WebhookEvent,
    WebhookSecretRotated,
    WebhookState,
    endpoint_patch,
    initial_endpoint,
)
from projections.rows import dump, field_patches, load_fields
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation
from sql.shared_keys import seal_shared

_SQL = queries("webhooks")
# Events that change a run's object.
_RUN_TYPES = (*WEBHOOK_EVENTS, "run.admitted", "run.modified")
# Deliveries that are read to find the oldest of each thread.
_WINDOW = 200
# Maximum number of replaced secrets of an endpoint that are valid at the same time.
MAX_REPLACED = 3


# The fields of an endpoint that change, in the order of their patches.
_FIELDS = ("url", "description", "events", "status", "disabled_reason")


def project(batch: Sequence[RecordedEvent[WebhookEvent]], before: WebhookState) -> list[RowOperation]:
    """Returns the operations on the rows of endpoints."""
    operations: list[RowOperation] = []
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case WebhookEndpointCreated(events=events):
                body = dump(initial_endpoint(recorded))  # type: ignore[arg-type]
                values = (id, recorded.project_id, recorded.at, _types(events), body)
                operations.append(RowOperation("webhook_endpoints.insert", values))
            case WebhookEndpointModified() | WebhookEndpointDisabled() as event:
                patch = endpoint_patch(event)
                is_enabled = patch["status"] == "enabled" if "status" in patch else None
                types = _types(patch["events"]) if "events" in patch else None
                changed = (is_enabled, types, field_patches(patch, _FIELDS))
                operations.append(RowOperation("webhook_endpoints.modify", (id, *changed)))
            case WebhookSecretRotated():
                pass  # no view holds a secret
            case WebhookEndpointDeleted():
                operations.append(RowOperation("webhook_endpoints.delete", (id,)))
            case _:
                assert_never(recorded.event)
    return operations


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """An endpoint and the state of its deliveries. `failing_since` is the first failure since the last success."""

    endpoint: WebhookEndpoint
    delivered_at: datetime | None
    failing_since: datetime | None
    last_error: str | None


async def get(db: Connection, project_id: str, endpoint_id: str) -> EndpointReport:
    """Returns the endpoint. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], endpoint_id, project_id)
    if row is None:
        raise NotFound("webhook_endpoint", endpoint_id)
    return _report(row)


async def list_endpoints(db: Connection, project_id: str, limit: int) -> list[EndpointReport]:
    """Returns the project's endpoints, the oldest first."""
    return [_report(row) for row in await db.fetch(_SQL["list"], project_id, limit)]


async def project_of(db: Connection, endpoint_id: str) -> str:
    """Returns the project of an endpoint. Raises NotFound."""
    found: str | None = await db.fetchval(_SQL["project_of"], endpoint_id)
    if found is None:
        raise NotFound("webhook_endpoint", endpoint_id)
    return found


async def has_room(db: Connection, project_id: str, limit: int) -> bool:
    """Returns whether the project has fewer endpoints than that. Holds until the end of the transaction."""
    await db.execute(_SQL["lock_project"], project_id)
    return bool(await db.fetchval(_SQL["count"], project_id, limit) < limit)


async def prepare_secret(db: Connection, endpoint_id: str, secret: str) -> str:
    """Stores a secret for an endpoint that is about to be created. If it has one already, returns that one."""
    kept: bytes = await db.fetchval(_SQL["prepare"], endpoint_id, await _seal(db, endpoint_id, "secret", secret))
    return kept.decode()


async def forget_failures(db: Connection, endpoint_id: str) -> None:
    """Resets the failures of an endpoint that is enabled again. It does not receive the events that it missed."""
    await db.execute(_SQL["drop_missed"], endpoint_id)
    await db.execute(_SQL["forget_failures"], endpoint_id)


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets that sign an endpoint's messages: the current one, and replaced ones that are still valid."""

    secret: str = field(repr=False)
    replaced: tuple[tuple[str, datetime], ...] = field(default=(), repr=False)

    @property
    def all(self) -> tuple[str, ...]:
        return (self.secret, *(secret for secret, _ in self.replaced))

    @property
    def previous_until(self) -> datetime | None:
        return self.replaced[0][1] if self.replaced else None


async def load_secrets(db: Connection, endpoint_id: str) -> Secrets | None:
    row = await db.fetchrow(_SQL["secrets"], endpoint_id)
    return None if row is None else _secrets(row)


async def rotate_secret(db: Connection, endpoint_id: str, secret: str, seconds: int) -> None:
    """Sets a new secret in the append's transaction. The previous one stays valid for that many seconds.

    Older ones keep their times, so a rotation whose answer was lost takes no secret from receivers. Beyond MAX_REPLACED
    the oldest is dropped. If the previous one ends at once, all older ones end too.
    """
    row = await db.fetchrow(_SQL["lock_secrets"], endpoint_id)
    if row is None:
        return
    until = row["at"] + timedelta(seconds=seconds)
    before = _secrets(row)
    kept = [(before.secret, until), *before.replaced][:MAX_REPLACED] if seconds else []
    current = await _seal(db, endpoint_id, "secret", secret)
    replaced = [await _seal(db, endpoint_id, "replaced_secrets", old_secret) for old_secret, _ in kept]
    await db.execute(_SQL["rotate"], endpoint_id, current, replaced, [until for _, until in kept])


def _secrets(row: Mapping[str, Any]) -> Secrets:
    replaced = zip(row["replaced_secrets"], row["replaced_until"], strict=True)
    valid = tuple((secret.decode(), until) for secret, until in replaced if until > row["at"])
    return Secrets(row["secret"].decode(), valid)


async def _seal(db: Connection, endpoint_id: str, column: str, text: str) -> bytes:
    return await seal_shared(db, "webhook_work", endpoint_id, column, text.encode())


# Queries of the couriers.


@dataclass(frozen=True, slots=True)
class IdleEndpoint:
    """An endpoint with a due delivery, and the process that held it last, if any.

    `failing` says that its last delivery failed.
    """

    endpoint_id: str
    process: int | None
    failing: bool


@dataclass(frozen=True, slots=True)
class ClaimedEndpoint:
    """An endpoint that a process delivers to. It is not `ready` while it rests after a failure."""

    project_id: str
    endpoint: WebhookEndpoint
    ready: bool
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event to deliver, after `attempts` failed attempts."""

    endpoint_id: str
    stream_id: str
    version: int
    attempts: int


async def has_endpoints(db: Connection) -> bool:
    """Returns whether there is any endpoint."""
    return bool(await db.fetchval(_SQL["has_endpoints"]))


async def find_idle(
    db: Connection, live: Collection[int], except_for: Collection[str], limit: int
) -> list[IdleEndpoint]:
    """Returns endpoints of all projects that have a due delivery and that no process of `live` holds.

    Those in `except_for` are left out. Those whose last delivery succeeded come first.
    """
    return [IdleEndpoint(**row) for row in await db.fetch(_SQL["find_idle"], list(live), list(except_for), limit)]


async def claim(db: Connection, found: IdleEndpoint, process: int) -> bool:
    """Claims the endpoint. Returns False if another process was faster."""
    return bool(await db.fetchval(_SQL["claim"], found.endpoint_id, process, found.process))


async def release(db: Connection, endpoint_id: str, process: int) -> None:
    await db.execute(_SQL["release"], endpoint_id, process)


async def load_claimed(db: Connection, endpoint_id: str, process: int) -> ClaimedEndpoint | None:
    """Returns the endpoint, or None if another process holds it, or it is disabled or deleted."""
    row = await db.fetchrow(_SQL["load_claimed"], endpoint_id, process)
    if row is None:
        return None
    return ClaimedEndpoint(
        row["project_id"], WebhookEndpoint(**load_fields(row["body"], row["patches"])), row["ready"], _secrets(row)
    )


async def find_due(db: Connection, endpoint_id: str, except_for: Collection[str], limit: int) -> list[Delivery]:
    """Returns the first due delivery of each thread, the oldest first, without the threads in `except_for`."""
    rows = await db.fetch(_SQL["find_due"], endpoint_id, list(except_for), _WINDOW, limit)
    return [Delivery(endpoint_id, **row) for row in rows]


@dataclass(frozen=True, slots=True)
class WaitingDelivery:
    """A message that waits for its endpoint, after `attempts` failed attempts. `type` is that of its event."""

    stream_id: str
    version: int
    type: str
    attempts: int
    due_at: datetime


async def waiting_deliveries(db: Connection, endpoint_id: str, limit: int) -> list[WaitingDelivery]:
    """Returns up to `limit` messages that wait for the endpoint, the next ones first."""
    return [WaitingDelivery(**row) for row in await db.fetch(_SQL["waiting"], endpoint_id, limit)]


async def retry(db: Connection, endpoint_id: str, limit: int) -> int:
    """Makes up to `limit` deliveries due that have failed, and ends the endpoint's rest. Returns their number."""
    await db.execute(_SQL["end_rest"], endpoint_id)
    return len(await db.fetch(_SQL["retry"], endpoint_id, limit))


async def record_delivery(db: Connection, delivery: Delivery) -> None:
    """Deletes a delivery that the endpoint has accepted, and ends the endpoint's failures."""
    await discard(db, delivery)
    await db.execute(_SQL["record_success"], delivery.endpoint_id)


async def record_failure(
    db: Connection, delivery: Delivery, pause: float, error: str, *, rest: float, longest_rest: float
) -> tuple[int, float]:
    """Postpones the delivery by `pause` seconds. Returns the endpoint's (failures in a row, seconds since the first).

    The endpoint rests for as long as it has failed so far, but at least `rest` and at most `longest_rest` seconds.
    """
    sealed = await _seal(db, delivery.endpoint_id, "last_error", error)
    await db.execute(_SQL["postpone"], delivery.endpoint_id, delivery.stream_id, delivery.version, pause)
    row = await db.fetchrow(_SQL["record_failure"], delivery.endpoint_id, sealed, rest, longest_rest)
    return (0, 0.0) if row is None else (row["failures"], row["seconds"])


async def discard(db: Connection, delivery: Delivery) -> None:
    await db.execute(_SQL["discard"], delivery.endpoint_id, delivery.stream_id, delivery.version)


async def find_overloaded(db: Connection, limit: int) -> list[str]:
    """Returns endpoints of all projects with that many deliveries or more."""
    return [row["endpoint_id"] for row in await db.fetch(_SQL["find_overloaded"], limit)]


async def drop_dead(db: Connection, limit: int) -> None:
    """Deletes deliveries to disabled or deleted endpoints, secrets of deleted endpoints, and expired secrets."""
    await db.execute(_SQL["forget_secrets"])
    if dead := [row["endpoint_id"] for row in await db.fetch(_SQL["find_dead"])]:
        await db.execute(_SQL["drop_deliveries"], dead, limit)
    await db.execute(_SQL["drop_work"])


async def count_pending(db: Connection, limit: int) -> int:
    """Returns the number of deliveries of all projects, counted up to `limit`."""
    found: int = await db.fetchval(_SQL["count_pending"], limit)
    return found


async def load_event_and_run(db: Connection, stream_id: str, version: int) -> tuple[RecordedEvent[Any], Run] | None:
    """Returns the event at that version and its run as of then, or None if there is no such event of a run.

    It is read from the log, so every delivery is the same, and it works after the thread is deleted.
    """
    found = await event_log.read(db, stream_id, after=version - 1, limit=1)
    event: Any = found[0].event if found else None
    if event is None or event.type not in WEBHOOK_EVENTS:
        return None
    begun: int | None = await db.fetchval(_SQL["run_position"], stream_id, event.run_id)
    after = (begun or 1) - 1
    run: Run | None = None
    more = True
    while more:
        page = await event_log.read_types(db, stream_id, _RUN_TYPES, after=after, until=version)
        for recorded in page.recorded:
            if getattr(recorded.event, "run_id", None) == event.run_id:
                run = _after(run, recorded)
            after = recorded.version
        more = page.more
    return None if run is None else (found[0], run)


def _after(run: Run | None, recorded: RecordedEvent[Any]) -> Run | None:
    """Returns the run as of one of its events."""
    if isinstance(recorded.event, e.RunCreated):
        return initial_run(recorded)
    return None if run is None else replace(run, **(run_patch(recorded) or {}))


def _types(names: Collection[str]) -> list[str]:
    """Returns the types of events by the names that users give them."""
    return [event_type for event_type, name in WEBHOOK_EVENTS.items() if name in names]


def _report(row: Mapping[str, Any]) -> EndpointReport:
    endpoint = WebhookEndpoint(**load_fields(row["body"], row["patches"]))
    error = row["last_error"]
    return EndpointReport(
        endpoint, row["delivered_at"], row["failing_since"], None if error is None else error.decode()
    )
