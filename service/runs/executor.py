"""Carries one claimed run forward: plan, perform, append, until there is nothing for a process to do.

An executor holds nothing that the log does not: another one may start from the same events at any moment, and the epoch
in its commands sees to it that only the latest claim can append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import assert_never

import structlog

from events.envelope import Origin
from events.ids import IdSource
from events.objects import Run
from events.thread.commands import (
    BreakModelCall,
    CallIds,
    ExecutorCommand,
    ExhaustRun,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    PartialReply,
    StartModelCall,
    StartToolCall,
    StopRun,
)
from events.thread.events import LastError, ModelCallStarted, ToolCallStarted, Usage
from events.thread.state import HostedToolCall, OpenModelCall, RunState, ThreadState
from projections import runs
from service.database import DATABASE_ERRORS
from service.deltas import StepOutputDelta
from service.feed import Feed
from service.model.base import Model, ModelError
from service.model.errors import to_storable
from service.runs.claim import Claimed
from service.runs.images import Images
from service.runs.model_call import NOTHING, Asked, Asking, OutOfPrompt
from service.runs.plan import (
    Exhaust,
    Fail,
    Journaled,
    LoseTool,
    PerformCall,
    PerformTool,
    Rest,
    StartCall,
    StartTool,
    Stop,
    plan,
)
from service.runs.tool_calls import Hosted, Outcome, Working, lost
from service.tools.base import ToolUnusable
from service.tools.registry import Tools
from service.writer import AppendResult, Writer

log = structlog.get_logger()

RETRY_AFTER = 0.5


def call_ids(ids: IdSource) -> CallIds:
    """Fresh ids for what a model call may bring."""
    return CallIds(ids.new("msg"), ids.new("step"), ids.new("step"))


def journaled(events: Iterable[object]) -> Journaled | None:
    """The call and attempt that an append journaled last, of a model or a hosted tool."""
    found: Journaled | None = None
    for event in events:
        if isinstance(event, ModelCallStarted):
            found = (event.call, event.attempt)
        elif isinstance(event, ToolCallStarted):
            found = (event.call_id, event.attempt)
    return found


class Executor:
    """One claim on one run. `ours` is the call and attempt journaled by this claim, if it came with one."""

    def __init__(
        self,
        writer: Writer,
        model: Model,
        origin: Origin,
        thread_id: str,
        run_id: str,
        epoch: int,
        ours: Journaled | None,
        run: Run | None = None,
        images: Images | None = None,
        tools: Tools | None = None,
        *,
        ids: IdSource,
    ) -> None:
        self.run_id = run_id
        self.thread_id = thread_id
        self.epoch = epoch
        self._claimed = Claimed(writer, thread_id, run_id, epoch)
        self._writer = writer
        self._model = model
        self._origin = origin
        self._ids = ids
        self._ours = ours
        self._run = run
        self._hosted = Hosted(writer.pool, tools or Tools(), origin.project_id)
        self._asking = Asking(writer.pool, model, origin.project_id, images, self._hosted, ids=ids)

    @property
    def _feed(self) -> Feed:
        return self._writer.feed

    def holds(self, state: ThreadState) -> bool:
        """Whether this claim still stands."""
        return self._claimed.holds(state)

    def interrupt(self) -> None:
        """The run may have changed: look."""
        self._claimed.interrupted.set()

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
            if written.recorded:
                self._ours = journaled(entry.event for entry in written.recorded) or self._ours
            else:
                # What was made is lost, and never made again under the same name.
                self.forget_calls()

    async def _append(self, command: ExecutorCommand) -> AppendResult[ThreadState]:
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
                if self._run is None or self._writer.clock.now().timestamp() >= (self._run.expires_at or 0):
                    raise
                log.warning("an append failed; trying again", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER)
                self._feed.wake(self.thread_id)

    def forget_calls(self) -> None:
        """After an append of unknown outcome: the open call's result is lost, so it is made again."""
        self._ours = None

    async def fail(self, message: str) -> None:
        """Ends the run as failed. Raises as `carry` does."""
        error = LastError(code="server_error", message=message)
        await self._writer.thread(self._origin, self.thread_id, FailRun(self.run_id, self.epoch, error))

    async def _next(self, state: RunState) -> ExecutorCommand | None:
        run = self._run or await self._load_run()
        tools = self._hosted.tools
        missing, at = tools.unavailable(run.tools), self._writer.clock.now().timestamp()
        action = plan(state, ours=self._ours, missing=missing, at=at, after_crash=tools.after_crash)
        match action:
            case Rest():
                return None
            case StartCall(pause=pause):
                await self._claimed.pause(pause)
                return StartModelCall(self.run_id, self.epoch, call_ids(self._ids))
            case PerformCall():
                assert state.call is not None
                return await self._perform(run, state, state.call)
            case StartTool():
                return StartToolCall(self.run_id, self.epoch)
            case PerformTool(call=call):
                return await self._use_tool(run, state, call)
            case LoseTool(call=call):
                return await self._lose_tool(run, state, call)
            case Stop():
                return StopRun(self.run_id, self.epoch, PartialReply(), NOTHING)
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

    async def _perform(self, run: Run, state: RunState, call: OpenModelCall) -> ExecutorCommand | None:
        """Makes the model call and says what came of it. None where the run was taken from us meanwhile."""
        asked: list[Asked] = []
        try:
            ended = await self._claimed.work(self._ask(run, state, call, asked), state.expires_at)
        except OutOfPrompt:
            if run.max_prompt_tokens is not None:
                return ExhaustRun(self.run_id, self.epoch, "max_prompt_tokens")
            message = f"The newest message alone does not fit into the context window of '{run.model}'."
            return FailRun(self.run_id, self.epoch, LastError(code="invalid_prompt", message=message))
        except ToolUnusable as error:
            return FailRun(self.run_id, self.epoch, LastError(code="server_error", message=to_storable(error.message)))
        except ModelError as error:
            log.warning("model call failed", code=error.code, error=error.message, attempt=call.attempt)
            last_error = LastError(code=error.code, message=error.message)
            said, usage = await self._said(asked)
            return BreakModelCall(self.run_id, self.epoch, said, last_error, usage)
        if ended is None:
            return None
        said, usage = await self._said(asked)
        if not ended:
            return StopRun(self.run_id, self.epoch, said, usage)
        finished = asked[0].reply.finished
        assert finished is not None
        return FinishModelCall(self.run_id, self.epoch, said, finished.reason, finished.model, usage)

    async def _said(self, asked: list[Asked]) -> tuple[PartialReply, Usage]:
        """What the model has said, and what it cost; nothing where it was not asked yet."""
        if not asked:
            return PartialReply(), NOTHING
        return asked[0].reply.said, await self._asking.usage(asked[0])

    async def _ask(self, run: Run, state: RunState, call: OpenModelCall, asked: list[Asked]) -> None:
        asked.append(await self._asking.ask(run, state, call))
        stream = self._model.stream(asked[0].request)
        try:
            async for events in stream:
                live = asked[0].reply.take(events)
                if live:
                    self._feed.publish_deltas(self.thread_id, live)
        finally:
            await stream.aclose()

    async def _use_tool(self, run: Run, state: RunState, call: HostedToolCall) -> ExecutorCommand | None:
        """Carries out a hosted call and says what came of it. None where the run was taken from us meanwhile."""
        assert state.step is not None
        working = await self._hosted.begin(run, state.step.step_id, call)
        window = self._model.info(run.model).context_window
        number = state.earlier_tool_calls + state.tool_calls - 1
        performing = self._hosted.perform(run, working, number, window, self._tell)
        try:
            ended = await self._claimed.work(performing, state.expires_at)
        except ToolUnusable as error:
            last_error = LastError(code="server_error", message=to_storable(error.message))
            return FailRun(self.run_id, self.epoch, last_error, working.pieces.shown(working.kind))
        if ended is None:
            return None
        if not ended or working.outcome is None:
            shown = working.pieces.shown(working.kind)
            return StopRun(self.run_id, self.epoch, PartialReply(), NOTHING, shown)
        return self._finish_tool(working, working.outcome)

    async def _lose_tool(self, run: Run, state: RunState, call: HostedToolCall) -> ExecutorCommand:
        assert state.step is not None
        working = await self._hosted.begin(run, state.step.step_id, call)
        return self._finish_tool(working, lost(working))

    def _finish_tool(self, working: Working, came: Outcome) -> FinishToolCall:
        call, result = working.call, (came.outcome, came.shown, came.output, came.files, came.citations)
        return FinishToolCall(self.run_id, self.epoch, call.id, call.attempt, *result, working.functions)

    def _tell(self, piece: StepOutputDelta) -> None:
        self._feed.publish_deltas(self.thread_id, [piece])
