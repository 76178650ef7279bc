"""Empties the outbox: every process looks for endpoints with something due that no live process holds, and takes them.

A courier works for one endpoint, so that a slow receiver keeps only its own messages waiting. Of a thread one message
is under way at a time, in the order of its events; one that was not taken is put off and lets the next ones pass. An
outbox row is deleted when the receiver has taken its message: a crash in between makes it come twice, under one id.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
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
from service.peers import Peers
from service.telemetry.metrics import Metrics
from service.webhooks import message, schedule
from service.webhooks.sender import Outcome, Sender
from service.writer import Writer

log = structlog.get_logger()

LOOK_EVERY = 1.0
# Seconds within which new events share a look.
COALESCE = 0.02
RETRY_AFTER = 0.5
# Endpoints that a process works for at once, those among them that fail, and messages under way to each. Receivers that
# let every message time out hold a courier most of the time: they are never in the way of others.
MAX_COURIERS = 50
MAX_FAILING = 25
CONCURRENCY = 8
# Seconds that messages under way get when the server stops.
STOP_GRACE = 1.0
# Messages that may wait for one endpoint: what falls further behind is disabled.
MAX_WAITING = 100_000
TIDY_EVERY = 60.0
TIDY_LIMIT = 10_000


class Couriers:
    """Listens to the feed, to look at once where something happened."""

    def __init__(self, writer: Writer, peers: Peers, sender: Sender, metrics: Metrics) -> None:
        self.pool = writer.pool
        self.process = peers.process
        self.sender = sender
        self.metrics = metrics
        self._writer = writer
        self._peers = peers
        self._at_work: dict[str, asyncio.Event] = {}
        # Of those, the ones that failed when they were claimed.
        self._failing: set[str] = set()
        self._nudge = asyncio.Event()
        self._anybody = True

    def on_thread_append(self, thread_id: str, recorded: Sequence[RecordedEvent[Any]], state: ThreadState) -> None:
        if self._anybody and any(entry.event.type in WEBHOOK_EVENTS for entry in recorded):
            self.on_wake(thread_id)

    def on_wake(self, stream_id: str) -> None:
        """Something may be due: for a new courier, or one that is at work."""
        if self._anybody:
            self._nudge.set()
            for nudge in self._at_work.values():
                nudge.set()

    async def run(self) -> None:
        """Delivers until cancelled; then messages under way get STOP_GRACE, and what is left is others' work."""
        tidied = -TIDY_EVERY
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._nudge.clear()
                try:
                    await self._look(tasks)
                    if monotonic() - tidied >= TIDY_EVERY:
                        tidied = monotonic()
                        await self._tidy()
                except DATABASE_ERRORS as error:
                    log.warning("webhooks cannot be looked for", error=str(error) or type(error).__name__)
                except Exception:
                    # One failing look must not end the server; the next one may succeed.
                    log.exception("webhooks cannot be looked for")
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._nudge.wait()
                await asyncio.sleep(COALESCE)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Claims what nobody works for, as far as there is room."""
        room = MAX_COURIERS - len(self._at_work)
        if room <= 0 or not self._peers.held:
            return
        others = self._peers.live - {self.process}
        async with self.pool.acquire() as db:
            self._anybody = await webhooks.has_endpoints(db)
            if not self._anybody:
                return
            # What is ours in the log and has no courier here is free too: its end was never written.
            found = await webhooks.find_idle(db, others, self._at_work, room)
            if any(one.process not in (None, self.process) for one in found):
                # Its process may have come since we last looked; who holds an endpoint had its lock before.
                others = await self._peers.look(db) - {self.process}
                found = [one for one in found if one.process not in others]
            failing = [one for one in found if one.failing][: MAX_FAILING - len(self._failing)]
            chosen = [*(one for one in found if not one.failing), *failing]
            claimed = [one for one in chosen if await webhooks.claim(db, one, self.process)]
        self._failing.update(one.endpoint_id for one in claimed if one.failing)
        for one in claimed:
            self._at_work[one.endpoint_id] = asyncio.Event()
            tasks.create_task(self._work(one.endpoint_id))

    async def _work(self, endpoint_id: str) -> None:
        structlog.contextvars.bind_contextvars(webhook_endpoint_id=endpoint_id)
        try:
            await Courier(self, endpoint_id, self._at_work[endpoint_id]).run()
        except DATABASE_ERRORS as error:
            log.warning("the database failed a webhook", error=str(error) or type(error).__name__)
            await asyncio.sleep(RETRY_AFTER)
        except Exception:
            log.exception("a webhook broke")
            await asyncio.sleep(RETRY_AFTER)
        finally:
            del self._at_work[endpoint_id]
            self._failing.discard(endpoint_id)

    async def _tidy(self) -> None:
        async with self.pool.acquire() as db:
            late = await webhooks.find_overloaded(db, MAX_WAITING)
            await webhooks.drop_dead(db, TIDY_LIMIT)
        for endpoint_id in late:
            await self.disable(endpoint_id, f"More than {MAX_WAITING} messages wait for it.")

    async def disable(self, endpoint_id: str, reason: str) -> None:
        """Tells the endpoint nothing more, and says so in the log and in its own object."""
        try:
            async with self.pool.acquire() as db:
                project_id = await webhooks.project_of(db, endpoint_id)
        except NotFound:
            return
        origin = Origin(project_id, ProcessActor(self.process))
        written = await self._writer.write(WEBHOOK_ENDPOINT, origin, endpoint_id, DisableEndpoint(reason))
        if written.recorded:
            log.error("webhook endpoint disabled", endpoint_id=endpoint_id, reason=reason)


class Courier:
    """One claim on one endpoint: delivers what is due, and lets go when nothing is."""

    def __init__(self, couriers: Couriers, endpoint_id: str, nudge: asyncio.Event) -> None:
        self._all = couriers
        self._id = endpoint_id
        self._nudge = nudge
        # By thread: of each, one message at a time.
        self._flying: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Raises what the database raises, and what was not foreseen."""
        process = self._all.process
        try:
            while True:
                self._nudge.clear()
                room = CONCURRENCY - len(self._flying)
                async with self._all.pool.acquire() as db:
                    work = await webhooks.load_claimed(db, self._id, process)
                    ready = work is not None and work.ready and room > 0
                    due = await webhooks.find_due(db, self._id, list(self._flying), room) if ready else []
                    if work is None or not (due or self._flying):
                        await webhooks.release(db, self._id, process)
                        return
                for one in due:
                    self._flying[one.stream_id] = asyncio.create_task(self._deliver(work, one))
                await self._one_landed()
        finally:
            await self._land()

    async def _one_landed(self) -> None:
        """Until a message under way has ended, or there may be more to send. Raises what went wrong with it."""
        nudged = asyncio.create_task(self._nudge.wait())
        try:
            await asyncio.wait({nudged, *self._flying.values()}, return_when=asyncio.FIRST_COMPLETED)
            if nudged.done():
                await asyncio.sleep(COALESCE)
        finally:
            nudged.cancel()
        landed = [(thread_id, task) for thread_id, task in self._flying.items() if task.done()]
        for thread_id, _ in landed:
            del self._flying[thread_id]
        for _, task in landed:
            task.result()

    async def _land(self) -> None:
        """Messages under way end, or are given up: they stay in the outbox."""
        if self._flying:
            _, late = await asyncio.wait(self._flying.values(), timeout=STOP_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._flying.values(), return_exceptions=True)

    async def _deliver(self, work: ClaimedEndpoint, one: Delivery) -> None:
        """One attempt, and what comes of it."""
        try:
            async with self._all.pool.acquire() as db:
                found = await webhooks.load_event_and_run(db, one.stream_id, one.version)
                if found is None:
                    await webhooks.discard(db, one)
                    return
            id, body = message.told(*found)
        except DATABASE_ERRORS:
            raise
        except Exception as error:
            # Newer software wrote the event, say: that must not keep the endpoint from all others.
            log.exception("a webhook's message could not be made", thread_id=one.stream_id, version=one.version)
            await self._failed(one, Outcome(None, f"could not be told: {type(error).__name__}", 0.0), "")
            return
        outcome = await self._all.sender.send(work.endpoint.url, work.secrets.all, id, body)
        if not outcome.taken:
            await self._failed(one, outcome, id)
            return
        async with self._all.pool.acquire() as db:
            await webhooks.record_delivery(db, one)
        self._all.metrics.webhooks["delivered"] += 1
        log.debug("webhook delivered", webhook_id=id, attempt=one.attempts + 1, ms=round(outcome.seconds * 1000))

    async def _failed(self, one: Delivery, outcome: Outcome, id: str) -> None:
        pause = schedule.pause(one.attempts + 1, random.SystemRandom())
        error = outcome.error or ""
        async with self._all.pool.acquire() as db:
            failures, seconds = await webhooks.record_failure(
                db, one, pause or 0.0, error, rest=schedule.REST, longest_rest=schedule.LONGEST_REST
            )
            if pause is None:
                await webhooks.discard(db, one)
        self._all.metrics.webhooks["failed" if pause is not None else "given_up"] += 1
        again = None if pause is None else round(pause)
        log.warning("webhook failed", webhook_id=id, attempt=one.attempts + 1, error=error, again_in_s=again)
        if outcome.gone:
            await self._all.disable(self._id, "It answered with status 410: it wants no more.")
        elif schedule.hopeless(failures, seconds):
            await self._all.disable(self._id, f"It has taken nothing for {seconds / 3600:.0f} hours: it {error}.")
