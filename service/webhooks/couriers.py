"""Delivers the webhook messages of the outbox.

Every process scans for endpoints that have a message due and that no living process works for, and claims them. A
courier works for one endpoint, so that a slow receiver delays only its own messages. It sends one message of a thread
at a time, in the order of the thread's events; a message that the receiver refuses is postponed and does not delay the
next ones. An outbox row is deleted after the receiver has accepted its message: a crash in between makes the message
come twice, with the same id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from time import monotonic
from typing import Any

import structlog

from events.actors import ProcessActor
from events.envelope import Origin, RecordedEvent
from events.errors import NotFound
from events.streams import WEBHOOK_ENDPOINT
from events.thread.state import ThreadState
from events.webhook_endpoint import WEBHOOK_EVENTS, DisableEndpoint
from projections import webhooks
from projections.webhooks import ClaimedEndpoint, Delivery
from service.database import DATABASE_ERRORS
from service.processes.orphans import find_orphans
from service.processes.peers import Peers
from service.processes.scan_loop import ScanLoop
from service.telemetry.metrics import Metrics
from service.webhooks import message, schedule
from service.webhooks.sender import DeliveryOutcome, Sender
from service.writer import Writer
from sql.seals import ContentErased

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
# New events within so many seconds share a scan.
COALESCE_S = 0.02
RETRY_AFTER_S = 0.5
# Endpoints that a process works for at once, failing endpoints among them, and concurrent messages to each. A receiver
# that lets every message time out occupies a courier most of the time, so failing endpoints cannot occupy all couriers.
MAX_COURIERS = 50
MAX_FAILING = 25
CONCURRENCY = 8
# Seconds that active messages get when the server stops.
STOP_GRACE = 1.0
# Messages that may wait for one endpoint. An endpoint that falls further behind is disabled.
MAX_WAITING = 100_000
TIDY_EVERY_S = 60.0
TIDY_LIMIT = 10_000


class Couriers:
    """The couriers of this process."""

    def __init__(self, writer: Writer, peers: Peers, sender: Sender, metrics: Metrics) -> None:
        self.pool = writer.pool
        self.process = peers.process
        self.sender = sender
        self.metrics = metrics
        self._writer = writer
        self._peers = peers
        self._loop = ScanLoop("webhooks", every_s=LOOK_EVERY_S, retry_s=LOOK_EVERY_S, coalesce_s=COALESCE_S)
        self._tasks: asyncio.TaskGroup | None = None
        # For each endpoint at work here, the event that wakes its courier; and those that failed before the claim.
        self._at_work: dict[str, asyncio.Event] = {}
        self._failing: set[str] = set()
        self._has_endpoints = True
        self._last_tidy = -TIDY_EVERY_S

    def on_thread_append(self, thread_id: str, recorded: Sequence[RecordedEvent[Any]], state: ThreadState) -> None:
        """Scans at once if the events are of types that endpoints can ask for."""
        if any(entry.event.type in WEBHOOK_EVENTS for entry in recorded):
            self.on_wake(thread_id)

    def on_wake(self, stream_id: str) -> None:
        """Scans at once, and wakes the couriers at work: a message may be due."""
        if self._has_endpoints:
            self._loop.nudge()
            for nudge in self._at_work.values():
                nudge.set()

    async def run(self) -> None:
        """Delivers until cancelled. Active messages then get STOP_GRACE; other processes deliver the rest."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._loop.run(self._scan)

    async def _scan(self) -> None:
        await self._claim_idle()
        if monotonic() - self._last_tidy >= TIDY_EVERY_S:
            self._last_tidy = monotonic()
            await self._tidy()

    async def _claim_idle(self) -> None:
        """Claims endpoints that have a message due and no courier, if there is room."""
        room = MAX_COURIERS - len(self._at_work)
        if self._tasks is None or room <= 0 or not self._peers.has_lock:
            return
        async with self.pool.acquire() as db:
            self._has_endpoints = await webhooks.has_endpoints(db)
            if not self._has_endpoints:
                return
            # An endpoint that names this process but has no courier here is free too: its release was not written.
            idle = await find_orphans(
                db, self._peers, lambda live: webhooks.find_idle(db, live, self._at_work, room), include_own=True
            )
            failing = [endpoint for endpoint in idle if endpoint.failing][: MAX_FAILING - len(self._failing)]
            chosen = [*(endpoint for endpoint in idle if not endpoint.failing), *failing]
            claimed = [endpoint for endpoint in chosen if await webhooks.claim(db, endpoint, self.process)]
        self._failing.update(endpoint.endpoint_id for endpoint in claimed if endpoint.failing)
        for endpoint in claimed:
            self._at_work[endpoint.endpoint_id] = asyncio.Event()
            self._tasks.create_task(self._work(endpoint.endpoint_id))

    async def _work(self, endpoint_id: str) -> None:
        structlog.contextvars.bind_contextvars(webhook_endpoint_id=endpoint_id)
        try:
            await Courier(self, endpoint_id, self._at_work[endpoint_id]).run()
        except DATABASE_ERRORS as error:
            log.warning("webhook_courier_failed", error=str(error) or type(error).__name__)
            await asyncio.sleep(RETRY_AFTER_S)
        except Exception:
            log.exception("webhook_courier_failed")
            await asyncio.sleep(RETRY_AFTER_S)
        finally:
            del self._at_work[endpoint_id]
            self._failing.discard(endpoint_id)

    async def _tidy(self) -> None:
        """Disables endpoints that are too far behind, and deletes messages of endpoints that do not exist any more."""
        async with self.pool.acquire() as db:
            late = await webhooks.find_overloaded(db, MAX_WAITING)
            await webhooks.drop_dead(db, TIDY_LIMIT)
        for endpoint_id in late:
            await self.disable(endpoint_id, f"More than {MAX_WAITING} messages wait for it.")

    async def disable(self, endpoint_id: str, reason: str) -> None:
        """Disables the endpoint, if it exists and is not disabled yet. Its object shows the reason."""
        try:
            async with self.pool.acquire() as db:
                project_id = await webhooks.project_of(db, endpoint_id)
        except NotFound:
            return
        origin = Origin(project_id, ProcessActor(self.process))
        written = await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, DisableEndpoint(reason))
        if written.recorded:
            log.error("webhook_endpoint_disabled", endpoint_id=endpoint_id, reason=reason)


class Courier:
    """A claim on one endpoint: delivers the messages that are due, and releases the claim if there are none."""

    def __init__(self, couriers: Couriers, endpoint_id: str, nudge: asyncio.Event) -> None:
        self._all = couriers
        self._id = endpoint_id
        self._nudge = nudge
        # The active messages by thread, one for each.
        self._active: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Delivers until no message is due. Raises errors of the database, and those of a message that was not sent."""
        process = self._all.process
        try:
            while True:
                self._nudge.clear()
                room = CONCURRENCY - len(self._active)
                async with self._all.pool.acquire() as db:
                    work = await webhooks.load_claimed(db, self._id, process)
                    ready = work is not None and work.ready and room > 0
                    due = await webhooks.find_due(db, self._id, list(self._active), room) if ready else []
                    if work is None or not (due or self._active):
                        await webhooks.release(db, self._id, process)
                        return
                for delivery in due:
                    self._active[delivery.stream_id] = asyncio.create_task(self._deliver(work, delivery))
                await self._wait_for_end()
        finally:
            await self._stop()

    async def _wait_for_end(self) -> None:
        """Waits until a message under way has ended, or there may be more to send. Raises the message's error."""
        nudged = asyncio.create_task(self._nudge.wait())
        try:
            await asyncio.wait({nudged, *self._active.values()}, return_when=asyncio.FIRST_COMPLETED)
            if nudged.done():
                await asyncio.sleep(COALESCE_S)
        finally:
            nudged.cancel()
        ended = [(thread_id, task) for thread_id, task in self._active.items() if task.done()]
        for thread_id, _ in ended:
            del self._active[thread_id]
        for _, task in ended:
            task.result()

    async def _stop(self) -> None:
        """Waits STOP_GRACE for active messages, then cancels them. They stay in the outbox."""
        if self._active:
            _, late = await asyncio.wait(self._active.values(), timeout=STOP_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._active.values(), return_exceptions=True)

    async def _deliver(self, work: ClaimedEndpoint, delivery: Delivery) -> None:
        """Makes one attempt and records its outcome."""
        try:
            async with self._all.pool.acquire() as db:
                found = await webhooks.load_event_and_run(db, delivery.stream_id, delivery.version)
                if found is None:
                    await webhooks.discard(db, delivery)
                    return
            event, run = found
            id, body = message.run_message(event, run)
        except DATABASE_ERRORS:
            raise
        except ContentErased:
            async with self._all.pool.acquire() as db:
                await webhooks.discard(db, delivery)
            return
        except Exception as error:
            # For example if newer software wrote the event: the endpoint must still get all other messages.
            log.exception("webhook_rendering_failed", thread_id=delivery.stream_id, version=delivery.version)
            outcome = DeliveryOutcome(None, f"could not be told: {type(error).__name__}", 0.0)
            await self._record_failure(delivery, outcome, "")
            return
        outcome = await self._all.sender.send(work.endpoint.url, work.secrets.all, id, body)
        if not outcome.is_accepted:
            await self._record_failure(delivery, outcome, id)
            return
        async with self._all.pool.acquire() as db:
            await webhooks.record_delivery(db, delivery)
        self._all.metrics.webhooks["delivered"] += 1
        duration_ms = round(outcome.seconds * 1000)
        log.debug("webhook_delivered", webhook_id=id, attempt=delivery.attempts + 1, ms=duration_ms)

    async def _record_failure(self, delivery: Delivery, outcome: DeliveryOutcome, id: str) -> None:
        """Postpones or gives up the message, and disables an endpoint that is beyond hope."""
        pause = schedule.pause(delivery.attempts + 1, random.SystemRandom())
        error = outcome.error or ""
        async with self._all.pool.acquire() as db:
            failures, seconds = await webhooks.record_failure(
                db, delivery, pause or 0.0, error, rest=schedule.REST, longest_rest=schedule.LONGEST_REST
            )
            if pause is None:
                await webhooks.discard(db, delivery)
        self._all.metrics.webhooks["failed" if pause is not None else "given_up"] += 1
        again = None if pause is None else round(pause)
        log.warning("webhook_failed", webhook_id=id, attempt=delivery.attempts + 1, error=error, again_in_s=again)
        if outcome.is_unsubscription:
            await self._all.disable(self._id, "It answered with status 410: it wants no more.")
        elif schedule.is_hopeless(failures, seconds):
            await self._all.disable(self._id, f"It has taken nothing for {seconds / 3600:.0f} hours: it {error}.")
