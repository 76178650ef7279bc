"""The events of calls of hosted tools, which the server carries out. They are part of a thread's events.

A call that has started ends in one of two ways: with a result, which never changes, or stopped because its run ended
early.
"""

from __future__ import annotations

from typing import Literal

from events.envelope import Event, JsonObject


class ToolFile(Event):
    """A file that a hosted tool wrote. `path` is its path in the sandbox."""

    file_id: str
    path: str


class ToolCitation(Event):
    """`marker` is the text by which the model cites; `quote` is the cited text."""

    marker: str
    file_id: str
    quote: str


class ToolCallStarted(Event):
    """Attempt number `attempt` at a call of a hosted tool started."""

    type: Literal["tool_call.started"] = "tool_call.started"
    run_id: str
    step_id: str
    call_id: str
    attempt: int


class ToolCallFinished(Event):
    """A hosted call has its result.

    `shown` is what the step shows ({outputs} or {results}), `output` is what the model reads. `outcome` is `failed` if
    the tool failed, `lost` if its process died and the call is not repeated, and `refused` if the call was not carried
    out and changed nothing. Older software stored refused calls as `failed`.
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
    """The server stopped a hosted call, since its run ended early. `shown` is the part of it that clients had seen."""

    type: Literal["tool_call.stopped"] = "tool_call.stopped"
    run_id: str
    step_id: str
    call_id: str
    attempt: int
    shown: JsonObject
