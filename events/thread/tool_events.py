"""Events of the calls of hosted tools: those that this server carries out. Part of a thread's events (`thread_events`).

A call that has started ends in one of two ways: it has its result, which it keeps for good, or its run ended early.
"""

from __future__ import annotations

from typing import Literal

from events.envelope import Event, JsonObject


class ToolFile(Event):
    """A file that a hosted tool made or changed; `path` as the model names it."""

    file_id: str
    path: str


class ToolCitation(Event):
    """`marker` is what the model cites with, `quote` the text it stands for."""

    marker: str
    file_id: str
    quote: str


class ToolCallStarted(Event):
    """Attempt number `attempt` at a call of a hosted tool."""

    type: Literal["tool_call.started"] = "tool_call.started"
    run_id: str
    step_id: str
    call_id: str
    attempt: int


class ToolCallFinished(Event):
    """A hosted call has its result, for good: what the step shows ({outputs} or {results}), and what the model is told.

    `failed`: the tool broke, and the model is told so. `lost`: its process died, and it is not made again. `refused`:
    it was not carried out, and changed nothing; before there was that word such calls were `failed`.
    """

    type: Literal["tool_call.finished"] = "tool_call.finished"
    run_id: str
    step_id: str
    call_id: str
    attempt: int
    outcome: Literal["finished", "failed", "lost", "refused"]
    shown: JsonObject
    output: str
    files: list[ToolFile]
    citations: list[ToolCitation]


class ToolCallStopped(Event):
    """We stopped a hosted call, since its run ended early. `shown` is what watchers had seen of it."""

    type: Literal["tool_call.stopped"] = "tool_call.stopped"
    run_id: str
    step_id: str
    call_id: str
    attempt: int
    shown: JsonObject
