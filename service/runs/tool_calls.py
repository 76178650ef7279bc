"""Hosted tools at work for one run: what the model is told of them, and calls carried out.

Whatever a tool does, a call ends in a result: what it raises, or gives in a shape that no step could show, is told to
the model as an error. What goes into the log is cleaned and bounded here, since tools run code that nobody vouches for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import structlog

from events.objects import Run, Step
from events.thread import events as e
from events.thread.state import HostedToolCall as OpenHosted
from projections import steps, threads
from service.database import Pool
from service.deltas import StepOutputDelta
from service.model.errors import to_storable
from service.partial_json import CodeInput
from service.runs import tool_output
from service.runs.prompt import cut, output_room
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

# What the model is told of a call whose process died.
LOST = "The server stopped while this call ran, and its result is lost. It may have had effects."
BAD_ARGUMENTS = "The arguments of this call are no JSON object, so it was not carried out."
NO_CODE = 'The arguments of this call hold no code, so it was not carried out: {"code": "…"} is expected.'
CODE_CUT = (
    "The arguments of this call end within the code, or a quotation mark in it is not escaped as JSON wants it, "
    "so it was not carried out."
)


@dataclass(slots=True)
class Outcome:
    """What came of a call, as the log keeps it."""

    outcome: Literal["finished", "failed", "lost", "refused"]
    shown: Mapping[str, Any]
    output: str
    files: Sequence[e.ToolFile] = ()
    citations: Sequence[e.ToolCitation] = ()


@dataclass(slots=True)
class Working:
    """A call being carried out. `pieces` is what watchers have seen of its outputs."""

    call: OpenHosted
    step: Step
    pieces: tool_output.Outputs = field(default_factory=tool_output.Outputs)
    outcome: Outcome | None = None

    @property
    def functions(self) -> list[dict[str, Any]]:
        """The step's calls that the client carries out, as required_action shows them."""
        return [call for call in self.step.tool_calls if call["type"] == "function"]

    @property
    def kind(self) -> str:
        return self.call.type

    @property
    def function(self) -> Mapping[str, Any]:
        """What the model called: {name, arguments}."""
        found: Mapping[str, Any] = next(one for one in self.step.tool_calls if one["id"] == self.call.id)["function"]
        return found


class Hosted:
    def __init__(self, pool: Pool, tools: Tools, project_id: str) -> None:
        self.tools = tools
        self._pool = pool
        self._project_id = project_id

    def functions(self, asked: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The functions that the run's hosted tools are to the model, by type: {description, parameters}."""
        kinds = dict.fromkeys(tool["type"] for tool in asked if tool["type"] != "function")
        return {
            kind: {"description": self.tools[kind].description, "parameters": dict(self.tools[kind].parameters)}
            for kind in kinds
        }

    async def briefs(self, run: Run, window: int) -> list[str]:
        """What each hosted tool of the run tells the model besides. Raises ToolUnusable, and what a tool raises."""
        kinds = list(dict.fromkeys(tool["type"] for tool in run.tools if tool["type"] != "function"))
        told = [to_storable(await self.tools[kind].brief(await self._run(run, kind, window))) for kind in kinds]
        return [text for text in told if text]

    async def begin(self, run: Run, step_id: str, call: OpenHosted) -> Working:
        """The call with its step, read from the views. Raises what the database raises."""
        async with self._pool.acquire() as db:
            step = await steps.get(db, self._project_id, run.thread_id, run.id, step_id)
        return Working(call, step)

    async def perform(
        self, run: Run, working: Working, number: int, window: int, tell: Callable[[StepOutputDelta], None]
    ) -> None:
        """Carries out the call; `working` has its outcome then. Raises ToolUnusable, and what the database raises
        before the call began."""
        arguments = _arguments(working)
        if isinstance(arguments, str):
            working.outcome = Outcome("refused", working.pieces.shown(working.kind), arguments)
            return
        room = output_room(window)
        hosted = await self._run(run, working.kind, window)
        call = HostedCall(working.call.id, hosted, arguments, number, working.call.attempt, room)
        try:
            working.outcome = _outcome(working.kind, await self._result(call, working, tell))
        except ToolUnusable:
            raise
        except Exception as error:
            log.exception("a tool broke", tool=working.kind, call_id=call.id)
            text = to_storable(f"The tool failed: {type(error).__name__}: {error}")
            working.outcome = Outcome("failed", working.pieces.shown(working.kind), cut(text, MAX_SEEN))

    async def _result(self, call: HostedCall, working: Working, tell: Callable[[StepOutputDelta], None]) -> ToolResult:
        """Raises what the tool raises, and RuntimeError where it ends without a result."""
        async with aclosing(self.tools[working.kind].perform(call)) as pieces:
            async for piece in pieces:
                if isinstance(piece, ToolResult):
                    return piece
                ids = (call.run.run_id, working.step.id, call.id, call.attempt, piece.index)
                match piece:
                    case LogPiece(index=index, text=text):
                        told = working.pieces.logs(index, to_storable(text))
                        if told:
                            tell(StepOutputDelta(*ids, told, None))
                    case ImagePiece(index=index, file_id=file_id):
                        if working.pieces.image(index, file_id):
                            tell(StepOutputDelta(*ids, None, file_id))
        raise RuntimeError("it ended without a result")

    async def _run(self, run: Run, kind: str, window: int) -> HostedRun:
        async with self._pool.acquire() as db:
            thread = await threads.get(db, self._project_id, run.thread_id)
        settings = next(tool for tool in run.tools if tool["type"] == kind)
        resources = (run.tool_resources, thread.tool_resources)
        return HostedRun(self._project_id, run.thread_id, run.id, run.model, window, settings, *resources)


def lost(working: Working) -> Outcome:
    return Outcome("lost", working.pieces.shown(working.kind), LOST)


def _arguments(working: Working) -> dict[str, Any] | str:
    """The call's arguments; a sentence where there are none that could be carried out."""
    written = working.function["arguments"]
    if working.kind == "code_interpreter":
        reader = CodeInput()
        code = reader.feed(written)
        return CODE_CUT if reader.cut else {"code": code} if code else NO_CODE
    try:
        arguments = orjson.loads(written or "{}")
    except orjson.JSONDecodeError:
        return BAD_ARGUMENTS
    return arguments if isinstance(arguments, dict) else BAD_ARGUMENTS


def _outcome(kind: str, result: ToolResult) -> Outcome:
    for what, given, most in (
        ("files", result.files, MAX_FILES),
        ("citations", result.citations, MAX_CITATIONS),
    ):
        if len(given) > most:
            log.warning("a tool brought too much", tool=kind, what=what, count=len(given), kept=most)
    return Outcome(
        "refused" if result.refused else "failed" if result.failed else "finished",
        tool_output.result(kind, result),
        cut(to_storable(result.text), MAX_SEEN),
        [e.ToolFile(file_id=one.file_id, path=to_storable(one.path)) for one in result.files[:MAX_FILES]],
        [
            e.ToolCitation(marker=to_storable(one.marker), file_id=one.file_id, quote=to_storable(one.quote))
            for one in result.citations[:MAX_CITATIONS]
        ],
    )
