"""The events of a thread that begins with objects from elsewhere: a fork of another thread.

They hold objects as they were, and nothing works on those objects again: no process claims a run that was imported, no
webhook announces it, and its tokens are not counted again.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from events.envelope import Event, JsonObject


def _is_none(value: object) -> bool:
    return value is None


class ThreadOrigin(Event):
    """The thread that a fork was made from, and the version of its stream that the fork begins with."""

    thread_id: str
    version: int


class ThreadForked(Event):
    """A fork of this thread as of `version` is about to be created. A fork that does not exist was never completed."""

    type: Literal["thread.forked"] = "thread.forked"
    fork_id: str
    version: int


class MessageImported(Event):
    """`body` holds the other fields of the message, as `Message` of `events/objects.py` names them.

    `run_distance` is the number of versions from the event that imported its run to this one: prompts read the message
    at the place of its run. It is absent if the message is of no run, or of one that was not imported.
    """

    type: Literal["message.imported"] = "message.imported"
    message_id: str
    role: Literal["user", "assistant"]
    run_id: str | None
    run_distance: int | None = Field(None, exclude_if=_is_none)
    body: JsonObject


class RunImported(Event):
    """`body` holds the other fields of the run, as `Run` of `events/objects.py` names them. The run has ended."""

    type: Literal["run.imported"] = "run.imported"
    run_id: str
    body: JsonObject


class StepImported(Event):
    """`body` holds the other fields of the step, as `Step` of `events/objects.py` names them. The step has ended.

    `run_distance` is the number of versions from the event that imported its run to this one.
    """

    type: Literal["step.imported"] = "step.imported"
    run_id: str
    step_id: str
    kind: Literal["message_creation", "tool_calls"]
    run_distance: int
    body: JsonObject
