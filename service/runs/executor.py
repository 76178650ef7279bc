"""Executes a claimed run: plans an action, performs it, and appends the result, until no process has anything to do.

An executor holds no state that the log does not hold. Another one may start from the same events at any moment: the
epoch in the commands makes sure that only the latest claim can append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import assert_never

import structlog

from events.envelope import Origin
from events.ids import IdSource
from events.objects import Run
from events.thread import events as e
from events.thread.commands import (
    BreakModelCall,
    CallIds,
    ExecutorCommand,
    ExhaustRun,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    PartialReply,
    ReleaseRun,
    StartModelCall,
    StartToolCall,
    StopRun,
)
from events.thread.events import LastError, ModelCallStarted, ToolCallStarted
from events.thread.state import HostedToolCall, RunState, ThreadState
from projections import runs
from service.database import DATABASE_ERRORS
from service.deltas import Delta, StepOutputDelta
from service.feed import Feed
from service.model.base import Model, ModelError
from service.model.errors import to_storable
from service.runs.claim import HeldClaim
from service.runs.history import HistoryReader
from service.runs.images import PromptImages
from service.runs.model_call import NOTHING, ModelCall, ModelCaller, PromptTooLong
from service.runs.plan import (
    Exhaust,
    Fail,
    JournaledCall,
    LoseTool,
    PerformCall,
    PerformTool,
    Rest,
    StartCall,
    StartTool,
    Stop,
    plan,
)
from service.runs.tool_calls import HostedTools, ToolExecution, ToolOutcome, lost_outcome
from service.tools.base import ToolUnusable
from service.tools.registry import Tools
from service.writer import AppendResult, Writer

log = structlog.get_logger()

RETRY_AFTER_S = 0.5
# Events that journal no call of the run.
_JournalsNothing = (
    e.LifeEvent
    | e.ImportEvent
    | e.MessageEvent
    | e.RunEvent
    | e.StepEvent
    | e.ModelCallFinished
    | e.ModelCallFailed
    | e.ModelCallStopped
    | e.ToolCallFinished
    | e.ToolCallStopped
)


def new_call_ids(ids: IdSource) -> CallIds:
    """Returns new ids for the message and the steps that a model call may create."""
    return CallIds(ids.new("msg"), ids.new("step"), ids.new("step"))


def last_journaled_call(events: Iterable[e.ThreadEvent]) -> JournaledCall | None:
    """Returns the call and attempt, of a model or a hosted tool, that the events journal last."""
    last: JournaledCall | None = None
    for event in events:
        match event:
            case ModelCallStarted(call=call, attempt=attempt):
                last = (call, attempt)
            case ToolCallStarted(call_id=call_id, attempt=attempt):
                last = (call_id, attempt)
            case _:
                _ignored: _JournalsNothing = event
    return last


class Executor:
    """Executes one run under one claim. `own_call` is the call that was journaled together with the claim, if any.

    `run` has the settings of the run. If it is null, it is read with the first action.
    """

    def __init__(
        self,
        writer: Writer,
        model: Model,
        origin: Origin,
        *,
        thread_id: str,
        run_id: str,
        epoch: int,
        own_call: JournaledCall | None,
        histories: HistoryReader,
        ids: IdSource,
        run: Run | None = None,
        images: PromptImages | None = None,
        tools: Tools | None = None,
    ) -> None:
        self.run_id = run_id
        self.thread_id = thread_id
        self.epoch = epoch
        self._claim = HeldClaim(writer, thread_id, run_id, epoch)
        self._writer = writer
        self._model = model
        self._origin = origin
        self._ids = ids
        self._own_call = own_call
        self.run = run
        self._hosted = HostedTools(writer.pool, tools or Tools(), origin.project_id)
        self._caller = ModelCaller(
            histories, model, project_id=origin.project_id, images=images, hosted=self._hosted, ids=ids
        )

    @property
    def _feed(self) -> Feed:
        return self._writer.feed

    def holds(self, state: ThreadState) -> bool:
        """Whether the executor's claim is the latest one on the thread's run."""
        return self._claim.is_valid(state)

    def interrupt(self) -> None:
        """Makes the executor read the run's state, because it may have changed."""
        self._claim.changed.set()

    async def execute(self, state: ThreadState, version: int | None) -> None:
        """Executes the run from `state` on. Returns when it has ended, waits for the client, or is taken over.

        `version` is that of the state; null if it is unknown. Raises StaleClaim if another claim preceded an append,
        and what the database raises.
        """
        while self.holds(state):
            assert state.run is not None
            command = await self._next_command(state.run, version)
            if command is None:
                return
            written = await self._append(command)
            if written.recorded:
                state, version = written.state, written.version
                self._own_call = last_journaled_call(entry.event for entry in written.recorded) or self._own_call
            else:
                # The result of the call is lost. The next attempt has another number.
                state, version = await self._writer.load_thread(self.thread_id), None
                self.forget_calls()

    async def _append(self, command: ExecutorCommand) -> AppendResult[ThreadState]:
        """Appends the command's events. Retries while the database fails, so that a reply of the model is not lost.

        If an append succeeded but its answer was lost, the retry is refused (StaleClaim) or starts a new attempt, and
        watchers are woken to read the log. Once the run has expired, it raises the database's error instead.
        """
        while True:
            try:
                return await self._writer.thread(self._origin, self.thread_id, command)
            except DATABASE_ERRORS as error:
                if isinstance(error, ValueError):
                    raise RuntimeError(f"an event that cannot be stored: {error}") from error
                if self.run is None or self._writer.clock.now().timestamp() >= (self.run.expires_at or 0):
                    raise
                log.warning("run_append_retried", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER_S)
                self._feed.wake(self.thread_id)

    def forget_calls(self) -> None:
        """Call it after an append of unknown outcome: the open call's result is lost, so the call is made again."""
        self._own_call = None

    async def fail(self, message: str) -> None:
        """Ends the run as failed. Raises as `execute` does."""
        error = LastError(code="server_error", message=message)
        await self._writer.thread(self._origin, self.thread_id, FailRun(self.run_id, self.epoch, error))

    async def release(self) -> None:
        """Gives the run back. Raises as `execute` does."""
        await self._writer.thread(self._origin, self.thread_id, ReleaseRun(self.run_id, self.epoch))

    async def _next_command(self, state: RunState, version: int | None) -> ExecutorCommand | None:
        """Plans and performs the next action on the state. Returns the command to append, or None if there is none."""
        run = self.run or await self._load_run()
        tools = self._hosted.tools
        missing, at = tools.unavailable_reasons(run.tools), self._writer.clock.now().timestamp()
        action = plan(state, own_call=self._own_call, missing=missing, at=at, after_crash=tools.after_crash)
        match action:
            case Rest():
                return None
            case StartCall(pause=pause):
                await self._claim.pause(pause)
                return StartModelCall(self.run_id, self.epoch, new_call_ids(self._ids))
            case PerformCall():
                assert state.call is not None
                return await self._perform_model_call(ModelCall(run, state, state.call, version))
            case StartTool():
                return StartToolCall(self.run_id, self.epoch)
            case PerformTool(call=call):
                return await self._perform_tool_call(run, state, call)
            case LoseTool(call=call):
                return await self._lose_tool_call(run, state, call)
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
            self.run = await runs.get(db, self._origin.project_id, self.thread_id, self.run_id)
        return self.run

    async def _perform_model_call(self, model_call: ModelCall) -> ExecutorCommand | None:
        """Makes the model call. Returns the command that ends it, or None if the run was taken over."""
        run = model_call.run
        work = self._caller.perform(model_call, self._publish)
        try:
            with self._feed.open_call(self.thread_id):
                end = await self._claim.supervise(work, model_call.state.expires_at)
        except PromptTooLong:
            if run.max_prompt_tokens is not None:
                return ExhaustRun(self.run_id, self.epoch, "max_prompt_tokens")
            message = f"The newest message alone does not fit into the context window of '{run.model}'."
            return FailRun(self.run_id, self.epoch, LastError(code="invalid_prompt", message=message))
        except ToolUnusable as error:
            return FailRun(self.run_id, self.epoch, LastError(code="server_error", message=to_storable(error.message)))
        except ModelError as error:
            attempt = model_call.call.attempt
            log.warning("model_call_failed", code=error.code, error=error.message, attempt=attempt)
            last_error = LastError(code=error.code, message=error.message)
            usage = await self._caller.count_usage(model_call)
            return BreakModelCall(
                run_id=self.run_id,
                epoch=self.epoch,
                reply=model_call.so_far,
                error=last_error,
                usage=usage,
                prompt=model_call.prompt_record,
            )
        if end == "claim_lost":
            return None
        usage = await self._caller.count_usage(model_call)
        if end == "stopped":
            return StopRun(
                run_id=self.run_id,
                epoch=self.epoch,
                reply=model_call.so_far,
                usage=usage,
                prompt=model_call.prompt_record,
            )
        assert model_call.reply is not None
        assert model_call.reply.end is not None
        stream_end = model_call.reply.end
        return FinishModelCall(
            run_id=self.run_id,
            epoch=self.epoch,
            reply=model_call.so_far,
            finish_reason=stream_end.reason,
            model=stream_end.model,
            usage=usage,
            prompt=model_call.prompt_record,
        )

    async def _perform_tool_call(self, run: Run, state: RunState, call: HostedToolCall) -> ExecutorCommand | None:
        """Executes a hosted call. Returns the command that ends it, or None if the run was taken over."""
        assert state.step is not None
        execution = await self._hosted.begin(run, state.step.step_id, call)
        work = self._hosted.perform(
            run,
            execution,
            number=state.earlier_tool_calls + state.tool_calls - 1,
            window=self._model.info(run.model).context_window,
            publish=self._publish_output,
        )
        try:
            with self._feed.open_call(self.thread_id):
                end = await self._claim.supervise(work, state.expires_at)
        except ToolUnusable as error:
            last_error = LastError(code="server_error", message=to_storable(error.message))
            return FailRun(self.run_id, self.epoch, last_error, execution.step_fields)
        if end == "claim_lost":
            return None
        if end == "stopped" or execution.outcome is None:
            return StopRun(
                run_id=self.run_id,
                epoch=self.epoch,
                reply=PartialReply(),
                usage=NOTHING,
                shown=execution.step_fields,
            )
        return self._finish_tool_call(execution, execution.outcome)

    async def _lose_tool_call(self, run: Run, state: RunState, call: HostedToolCall) -> ExecutorCommand:
        assert state.step is not None
        execution = await self._hosted.begin(run, state.step.step_id, call)
        return self._finish_tool_call(execution, lost_outcome(execution))

    def _finish_tool_call(self, execution: ToolExecution, outcome: ToolOutcome) -> FinishToolCall:
        return FinishToolCall(
            run_id=self.run_id,
            epoch=self.epoch,
            call_id=execution.call.id,
            attempt=execution.call.attempt,
            outcome=outcome.outcome,
            shown=outcome.shown,
            output=outcome.output,
            files=outcome.files,
            citations=outcome.citations,
            functions=execution.client_calls,
        )

    def _publish(self, deltas: Sequence[Delta]) -> None:
        self._feed.publish_deltas(self.thread_id, deltas)

    def _publish_output(self, delta: StepOutputDelta) -> None:
        self._feed.publish_deltas(self.thread_id, [delta])
