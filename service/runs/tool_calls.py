"""Executes the calls of hosted tools for one run, and describes the tools to the model.

Every call ends in an outcome. An exception of a tool, and a result of the wrong shape, become an error that the model
reads. Results are cleaned and bounded before they go into the log, since tools run untrusted code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

import orjson
import structlog

from events.objects import Json, Run, Step
from events.thread import events as e
from events.thread.state import HostedToolCall
from projections import steps, threads
from service.database import Pool
from service.deltas import StepOutputDelta
from service.model.errors import to_storable
from service.partial_json import CodeInput
from service.runs import tool_output
from service.runs.failures import describe_failure
from service.runs.prompt import output_room, shorten
from service.tools.base import (
    MAX_CITATIONS,
    MAX_FILES,
    MAX_SEEN,
    HostedCall,
    HostedRun,
    ImagePiece,
    LogPiece,
    ToolResult,
    ToolUnusable,
)
from service.tools.registry import Tools

log = structlog.get_logger()

# The output for the model of a call whose process died, and of calls with invalid arguments.
LOST = "The server stopped while this call ran, and its result is lost. It may have had effects."
BAD_ARGUMENTS = "The arguments of this call are no JSON object, so it was not carried out."
NO_CODE = 'The arguments of this call hold no code, so it was not carried out: {"code": "…"} is expected.'
CODE_CUT = (
    "The arguments of this call end within the code, or a quotation mark in it is not escaped as JSON wants it, "
    "so it was not carried out."
)


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The end of a call as the log keeps it. `shown` are the step's fields, `output` is the text for the model."""

    outcome: Literal["finished", "failed", "lost", "refused"]
    shown: Mapping[str, Any]
    output: str
    files: Sequence[e.ToolFile] = ()
    citations: Sequence[e.ToolCitation] = ()


@dataclass(slots=True)
class ToolExecution:
    """A call in execution. `outputs` are those that watchers have seen. `outcome` is set when the call has ended."""

    call: HostedToolCall
    step: Step
    outputs: tool_output.OutputPieces = field(default_factory=tool_output.OutputPieces)
    outcome: ToolOutcome | None = None

    @property
    def client_calls(self) -> list[Json]:
        """The calls of the step that the client executes, as required_action shows them."""
        return [call for call in self.step.tool_calls if call["type"] == "function"]

    @property
    def type(self) -> str:
        return self.call.type

    @property
    def step_fields(self) -> Json:
        """The step's fields of the call, from the outputs so far."""
        return self.outputs.step_fields(self.type)

    @property
    def function(self) -> Json:
        """The function that the model called: {name, arguments}."""
        found: Json = next(one for one in self.step.tool_calls if one["id"] == self.call.id)["function"]
        return found

    def log_delta(self, tool_call: HostedCall, piece: LogPiece) -> StepOutputDelta | None:
        """Adds the piece to the outputs. Returns its delta, or None if the piece is dropped."""
        logs = self.outputs.add_logs(piece.index, to_storable(piece.text))
        return self._delta(tool_call, piece.index, logs=logs) if logs else None

    def image_delta(self, tool_call: HostedCall, piece: ImagePiece) -> StepOutputDelta | None:
        """Adds the piece to the outputs. Returns its delta, or None if the piece is dropped."""
        is_added = self.outputs.add_image(piece.index, piece.file_id)
        return self._delta(tool_call, piece.index, image=piece.file_id) if is_added else None

    def _delta(
        self, tool_call: HostedCall, index: int, *, logs: str | None = None, image: str | None = None
    ) -> StepOutputDelta:
        return StepOutputDelta(
            run_id=tool_call.run.run_id,
            step_id=self.step.id,
            call_id=tool_call.id,
            attempt=tool_call.attempt,
            index=index,
            logs=logs,
            image=image,
        )


class HostedTools:
    """The hosted tools of one project's runs."""

    def __init__(self, pool: Pool, tools: Tools, project_id: str) -> None:
        self.tools = tools
        self._pool = pool
        self._project_id = project_id

    def functions(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
        """Returns the functions {description, parameters} that stand for the hosted tools of a run, by type."""
        return {
            type: {"description": self.tools[type].description, "parameters": dict(self.tools[type].parameters)}
            for type in _hosted_types(tools)
        }

    async def briefs(self, run: Run, window: int) -> list[str]:
        """Returns the texts that the run's hosted tools add to the instructions. `window` is in tokens.

        Raises ToolUnusable, and what a tool raises.
        """
        texts = [
            to_storable(await self.tools[type].brief(await self._run(run, type, window)))
            for type in _hosted_types(run.tools)
        ]
        return [text for text in texts if text]

    async def begin(self, run: Run, step_id: str, call: HostedToolCall) -> ToolExecution:
        """Returns the call with its step, which is read from the views. Raises what the database raises."""
        async with self._pool.acquire() as db:
            step = await steps.get(db, self._project_id, run.thread_id, run.id, step_id)
        return ToolExecution(call, step)

    async def perform(
        self,
        run: Run,
        execution: ToolExecution,
        *,
        number: int,
        window: int,
        publish: Callable[[StepOutputDelta], None],
    ) -> None:
        """Executes the call, and sets the outcome of `execution`.

        `number` counts the thread's hosted calls from 0; `window` is in tokens. Raises ToolUnusable, and what the
        database raises before the tool begins.
        """
        arguments = _parse_arguments(execution)
        if isinstance(arguments, str):
            execution.outcome = ToolOutcome("refused", execution.step_fields, arguments)
            return
        hosted_run = await self._run(run, execution.type, window)
        call = HostedCall(
            id=execution.call.id,
            run=hosted_run,
            arguments=arguments,
            number=number,
            attempt=execution.call.attempt,
            room=output_room(window),
        )
        try:
            execution.outcome = _to_outcome(execution.type, await self._result(call, execution, publish))
        except ToolUnusable:
            raise
        except Exception as error:
            log.exception("tool_failed", tool=execution.type, call_id=call.id)
            text = to_storable(f"The tool failed: {describe_failure(error)}")
            execution.outcome = ToolOutcome("failed", execution.step_fields, shorten(text, MAX_SEEN))

    async def _result(
        self, call: HostedCall, execution: ToolExecution, publish: Callable[[StepOutputDelta], None]
    ) -> ToolResult:
        """Raises what the tool raises, and RuntimeError if the tool ends without a result."""
        async with aclosing(self.tools[execution.type].perform(call)) as pieces:
            async for piece in pieces:
                match piece:
                    case ToolResult():
                        return piece
                    case LogPiece():
                        delta = execution.log_delta(call, piece)
                    case ImagePiece():
                        delta = execution.image_delta(call, piece)
                    case _:
                        assert_never(piece)
                if delta is not None:
                    publish(delta)
        raise RuntimeError("it ended without a result")

    async def _run(self, run: Run, type: str, window: int) -> HostedRun:
        async with self._pool.acquire() as db:
            thread = await threads.get(db, self._project_id, run.thread_id)
        return HostedRun(
            project_id=self._project_id,
            thread_id=run.thread_id,
            run_id=run.id,
            model=run.model,
            window=window,
            settings=next(tool for tool in run.tools if tool["type"] == type),
            run_resources=run.tool_resources,
            thread_resources=thread.tool_resources,
        )


def lost_outcome(execution: ToolExecution) -> ToolOutcome:
    """Returns the outcome of a call whose process died."""
    return ToolOutcome("lost", execution.step_fields, LOST)


def _hosted_types(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(tool["type"] for tool in tools if tool["type"] != "function"))


def _parse_arguments(execution: ToolExecution) -> Json | str:
    """Returns the arguments of the call, or a sentence for the model if they are invalid."""
    written = execution.function["arguments"]
    if execution.type == "code_interpreter":
        reader = CodeInput()
        code = reader.feed(written)
        return CODE_CUT if reader.cut else {"code": code} if code else NO_CODE
    try:
        arguments = orjson.loads(written or "{}")
    except orjson.JSONDecodeError:
        return BAD_ARGUMENTS
    return arguments if isinstance(arguments, dict) else BAD_ARGUMENTS


def _to_outcome(type: str, result: ToolResult) -> ToolOutcome:
    for field_, values, most in (("files", result.files, MAX_FILES), ("citations", result.citations, MAX_CITATIONS)):
        if len(values) > most:
            log.warning("tool_result_cut", tool=type, field=field_, count=len(values), kept=most)
    return ToolOutcome(
        outcome="refused" if result.refused else "failed" if result.failed else "finished",
        shown=tool_output.step_fields(type, result),
        output=shorten(to_storable(result.text), MAX_SEEN),
        files=[e.ToolFile(file_id=one.file_id, path=to_storable(one.path)) for one in result.files[:MAX_FILES]],
        citations=[
            e.ToolCitation(marker=to_storable(one.marker), file_id=one.file_id, quote=to_storable(one.quote))
            for one in result.citations[:MAX_CITATIONS]
        ],
    )
