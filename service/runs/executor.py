"""Carries one claimed run forward: plan, perform, append, until there is nothing for a process to do.

An executor holds nothing that the log does not: another one may start from the same events at any moment, and the epoch
in its commands sees to it that only the latest claim can append.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import assert_never

import structlog

from events.event import Origin, now
from events.ids import new_id
from events.objects import Run
from events.thread_commands import (
    BreakModelCall,
    CallIds,
    ExecutorCommand,
    ExhaustRun,
    FailRun,
    FinishModelCall,
    Partial,
    StartModelCall,
    StopRun,
)
from events.thread_events import LastError
from events.thread_state import OpenCall, RunState, ThreadState
from projections import runs
from service.database import DATABASE_ERRORS
from service.feed import Feed
from service.model.base import ChatRequest, Finished, Model, ModelError
from service.runs.asking import NOTHING, Asking, OutOfPrompt
from service.runs.images import Images
from service.runs.plan import Exhaust, Fail, PerformCall, Rest, StartCall, Stop, missing_tools, plan
from service.runs.reply import Reply
from service.write import Writer, Written

log = structlog.get_logger()

# Timers may fire a little early; an expiry must not be asked for before its time.
TIMER_SLACK = 0.01
RETRY_AFTER = 0.5
# Seconds between looks at the log while a model call streams: a wake-up may be lost.
LOOK_EVERY = 2.0


def call_ids() -> CallIds:
    """Fresh ids for what a model call may bring."""
    return CallIds(new_id("msg"), new_id("step"), new_id("step"))


class Executor:
    """One claim on one run. `ours` is the (call, attempt) journaled by this claim, if it came with one."""

    def __init__(
        self,
        writer: Writer,
        model: Model,
        origin: Origin,
        thread_id: str,
        run_id: str,
        epoch: int,
        ours: tuple[int, int] | None,
        run: Run | None = None,
        images: Images | None = None,
    ) -> None:
        self.run_id = run_id
        self.thread_id = thread_id
        self.epoch = epoch
        self.interrupted = asyncio.Event()
        self._writer = writer
        self._model = model
        self._origin = origin
        self._ours = ours
        self._run = run
        self._asking = Asking(writer.pool, model, origin.project_id, images)

    @property
    def _feed(self) -> Feed:
        return self._writer.feed

    def holds(self, state: ThreadState) -> bool:
        """Whether this claim still stands."""
        run = state.run
        return run is not None and run.id == self.run_id and run.epoch == self.epoch and run.process is not None

    async def carry(self, state: ThreadState) -> None:
        """Carries the run on from `state`. Returns when it ended, rests, or is no longer ours.

        Raises StaleClaim where another claim overtook an append, and what the database raises.
        """
        while self.holds(state):
            assert state.run is not None
            command = await self._next(state.run)
            if command is None:
                return
            written = await self._append(command)
            state = written.state if written.recorded else await self._writer.load_thread(self.thread_id)
            if isinstance(command, StartModelCall) and self.holds(state) and state.run and state.run.call:
                self._ours = (state.run.call.number, state.run.call.attempt)
            elif not written.recorded:
                # What was made is lost, and never made again under the same name.
                self.forget_calls()

    async def _append(self, command: ExecutorCommand) -> Written[ThreadState]:
        """Appends, again while the database is away: what a model call brought is not thrown away for a hiccup.

        An append whose answer was lost may have been made: the second try is then refused (StaleClaim) or starts a new
        attempt, and watchers are told to read the log. Raises what the database raises once the run's time is up.
        """
        while True:
            try:
                return await self._writer.thread(self._origin, self.thread_id, command)
            except DATABASE_ERRORS as error:
                if isinstance(error, ValueError):
                    raise RuntimeError(f"an event that cannot be stored: {error}") from error
                if self._run is None or now().timestamp() >= (self._run.expires_at or 0):
                    raise
                log.warning("an append failed; trying again", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER)
                self._feed.woken(self.thread_id)

    def forget_calls(self) -> None:
        """After an append of unknown outcome: the open call's result is lost, so it is made again."""
        self._ours = None

    async def fail(self, message: str) -> None:
        """Ends the run as failed. Raises as `carry` does."""
        error = LastError(code="server_error", message=message)
        await self._writer.thread(self._origin, self.thread_id, FailRun(self.run_id, self.epoch, error))

    async def _next(self, state: RunState) -> ExecutorCommand | None:
        run = self._run or await self._load_run()
        action = plan(state, ours=self._ours, missing=missing_tools(run.tools), at=now().timestamp())
        match action:
            case Rest():
                return None
            case StartCall(pause=pause):
                await self._pause(pause)
                return StartModelCall(self.run_id, self.epoch, call_ids())
            case PerformCall():
                assert state.call is not None
                return await self._perform(run, state, state.call)
            case Stop():
                return StopRun(self.run_id, self.epoch, Partial(), NOTHING)
            case Fail(error=error):
                return FailRun(self.run_id, self.epoch, error)
            case Exhaust(reason=reason):
                return ExhaustRun(self.run_id, self.epoch, reason)
            case _:
                assert_never(action)

    async def _load_run(self) -> Run:
        async with self._writer.pool.acquire() as db:
            self._run = await runs.get(db, self._origin.project_id, self.thread_id, self.run_id)
        return self._run

    async def _perform(self, run: Run, state: RunState, call: OpenCall) -> ExecutorCommand | None:
        """Makes the model call and says what came of it. None where the run was taken from us meanwhile."""
        reply = Reply(self.run_id, call)
        try:
            request = await self._asking.request(run, state, call)
        except OutOfPrompt:
            if run.max_prompt_tokens is not None:
                return ExhaustRun(self.run_id, self.epoch, "max_prompt_tokens")
            message = f"The newest message alone does not fit into the context window of '{run.model}'."
            return FailRun(self.run_id, self.epoch, LastError(code="invalid_prompt", message=message))
        reading = asyncio.create_task(self._read(request, reply))
        try:
            held = await self._watch_over(reading, state.expires_at)
        finally:
            # Not `await reading`: its cancellation could not be told from ours, and ours must not be swallowed.
            reading.cancel()
            await asyncio.wait({reading})
        error = None if reading.cancelled() else reading.exception()
        if not held:
            return None
        if reading.cancelled():
            return StopRun(self.run_id, self.epoch, reply.said, await self._asking.usage(request, reply))
        if isinstance(error, ModelError):
            log.warning("model call failed", code=error.code, error=error.message, attempt=call.attempt)
            last_error = LastError(code=error.code, message=error.message)
            usage = await self._asking.usage(request, reply)
            return BreakModelCall(self.run_id, self.epoch, reply.said, last_error, usage)
        if error is not None:
            raise error
        assert reply.finished is not None
        return await self._finish(request, reply, reply.finished)

    async def _finish(self, request: ChatRequest, reply: Reply, finished: Finished) -> FinishModelCall:
        usage = await self._asking.usage(request, reply)
        return FinishModelCall(self.run_id, self.epoch, reply.said, finished.reason, finished.model, usage)

    async def _watch_over(self, reading: asyncio.Task[None], expires_at: int) -> bool:
        """Waits until the call ended, or must be stopped: the run was cancelled, or its time is up.

        False where the claim is no longer ours.
        """
        while not reading.done():
            interruption = asyncio.create_task(self.interrupted.wait())
            left = max(0, expires_at - now().timestamp()) + TIMER_SLACK
            waited = {reading, interruption}
            try:
                await asyncio.wait(waited, timeout=min(left, LOOK_EVERY), return_when=asyncio.FIRST_COMPLETED)
            finally:
                interruption.cancel()
            if reading.done() or now().timestamp() >= expires_at:
                return True
            self.interrupted.clear()
            try:
                state = await self._writer.load_thread(self.thread_id)
            except DATABASE_ERRORS:
                # The model speaks on meanwhile; the next look will tell.
                await asyncio.sleep(RETRY_AFTER)
                continue
            if not self.holds(state):
                return False
            if state.run is not None and state.run.status == "cancelling":
                return True
        return True

    async def _pause(self, seconds: float) -> None:
        """Waits before another attempt, with jitter; any change of the run ends the wait."""
        if seconds:
            self.interrupted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):
                    await self.interrupted.wait()

    async def _read(self, request: ChatRequest, reply: Reply) -> None:
        stream = self._model.stream(request)
        try:
            async for events in stream:
                live = reply.take(events)
                if live:
                    self._feed.live(self.thread_id, live)
        finally:
            await stream.aclose()
