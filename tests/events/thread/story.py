"""Given/when/then for threads: a thread's history in memory, and short names for its commands.

story = given(CREATE, run(claim=claim()))      # given
events = story.do(finish("Hello."))            # when
assert kinds(events) == [...]                  # then
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from events.actors import CommandLineActor
from events.envelope import Event, Origin, RecordedEvent
from events.event_log import number_events
from events.objects import RunStatus
from events.thread import events as e
from events.thread.commands import (
    AddMessage,
    BreakModelCall,
    CallIds,
    CancelRun,
    Claim,
    ClaimRun,
    CreateRun,
    CreateThread,
    ExpireRun,
    FailRun,
    FinishModelCall,
    NewMessage,
    PartialReply,
    RunSettings,
    StartModelCall,
    StopRun,
    SubmitToolOutputs,
    ThreadCommand,
)
from events.thread.decide import decide
from events.thread.state import RunState, ThreadState, evolve

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = int(T0.timestamp())
LIFETIME = 600
ORIGIN = Origin(project_id="proj_1", actor=CommandLineActor())
CREATE = CreateThread({}, {}, ())
ERROR = e.LastError(code="server_error", message="The upstream broke.")
USAGE = e.Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=2, reasoning_tokens=1)
NOTHING = e.Usage()

SETTINGS = RunSettings(
    assistant_id="asst_1",
    model="gpt-test",
    instructions="Be brief.",
    tools=(),
    tool_resources={},
    metadata={},
    temperature=1.0,
    top_p=1.0,
    reasoning_effort=None,
    response_format="auto",
    tool_choice="auto",
    parallel_tool_calls=True,
    truncation_strategy={"type": "auto", "last_messages": None},
    max_prompt_tokens=None,
    max_completion_tokens=None,
)
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class Story:
    """A thread in progress: its log so far, and its state."""

    def __init__(self, thread_id: str = "thread_1") -> None:
        self.state = ThreadState(thread_id)
        self.log: list[RecordedEvent[e.ThreadEvent]] = []

    def do(self, command: ThreadCommand, after: float = 0.0) -> list[e.ThreadEvent]:
        """Decides at T0 plus `after` seconds, and folds the events. Raises the errors of `decide`."""
        at = T0 + timedelta(seconds=after)
        events = decide(self.state, command, at)
        for entry in number_events(self.state.id, len(self.log), events, at, ORIGIN):
            self.state = evolve(self.state, entry)
            self.log.append(entry)
        return events

    @property
    def run(self) -> RunState:
        assert self.state.run is not None, "no active run"
        return self.state.run


def given(*commands: ThreadCommand) -> Story:
    story = Story()
    for command in commands:
        story.do(command)
    return story


def types_of(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]  # type: ignore[attr-defined]


def single_event(events: Sequence[Event], kind: type[Any]) -> Any:
    """Returns the only event of this type."""
    (found,) = (event for event in events if isinstance(event, kind))
    return found


def message(text: str = "Hi", id: str = "msg_user", role: e.Role = "user") -> NewMessage:
    return NewMessage(id, role, ({"type": "text", "text": {"value": text, "annotations": []}},), (), {})


def add(text: str = "Hi", id: str = "msg_user", role: e.Role = "user", queue: bool = False) -> AddMessage:
    return AddMessage(message(text, id, role), queue)


def ids(suffix: str = "1") -> CallIds:
    return CallIds(f"msg_{suffix}", f"step_m{suffix}", f"step_t{suffix}")


def claim(process: int = 1, first: str | None = "1") -> Claim:
    return Claim(process, None if first is None else ids(first))


def run(
    run_id: str = "run_1",
    claim: Claim | None = None,
    messages: Sequence[NewMessage] = (),
    queue: bool = False,
    **settings: Any,
) -> CreateRun:
    return CreateRun(run_id, replace(SETTINGS, **settings), messages, LIFETIME, claim, queue=queue)


def take(process: int = 1, dead: int | None = None, run_id: str = "run_1") -> ClaimRun:
    return ClaimRun(run_id, process, dead)


def start(suffix: str = "1", epoch: int = 1, run_id: str = "run_1") -> StartModelCall:
    return StartModelCall(run_id, epoch, ids(suffix))


def calls(*call_ids: str) -> tuple[dict[str, str], ...]:
    return tuple({"id": id, "name": "weather", "arguments": "{}"} for id in call_ids)


def finish(
    text: str = "", *call_ids: str, reason: Any = None, epoch: int = 1, usage: e.Usage = USAGE, run_id: str = "run_1"
) -> FinishModelCall:
    said = PartialReply(text=text, tool_calls=calls(*call_ids))
    return FinishModelCall(run_id, epoch, said, reason or ("tool_calls" if call_ids else "stop"), "m-1", usage)


def break_call(text: str = "", *call_ids: str, epoch: int = 1, error: e.LastError = ERROR) -> BreakModelCall:
    said = PartialReply(text=text, tool_calls=calls(*call_ids))
    return BreakModelCall("run_1", epoch, said, error, NOTHING if said.is_empty else USAGE)


def stop(text: str = "", *call_ids: str, epoch: int = 1) -> StopRun:
    said = PartialReply(text=text, tool_calls=calls(*call_ids))
    return StopRun("run_1", epoch, said, NOTHING if said.is_empty else USAGE)


def fail(epoch: int = 1, error: e.LastError = ERROR) -> FailRun:
    return FailRun("run_1", epoch, error)


def submit(
    *call_ids: str, status: RunStatus | None = "requires_action", claim: Claim | None = None, run_id: str = "run_1"
) -> SubmitToolOutputs:
    outputs = [e.ToolOutput(tool_call_id=id, output=f"out {id}") for id in call_ids]
    return SubmitToolOutputs(run_id, status, outputs, claim)


def cancel(status: RunStatus | None = None, run_id: str = "run_1", claim: Claim | None = None) -> CancelRun:
    return CancelRun(run_id, status, claim)


def expire(run_id: str = "run_1", claim: Claim | None = None) -> ExpireRun:
    return ExpireRun(run_id, claim)


def queued_run() -> Story:
    """A story with a run that waits for a process."""
    return given(CREATE, run())


def working_run() -> Story:
    """A story with a run whose first model call is open."""
    return given(CREATE, run(claim=claim()))


def run_awaiting_outputs(*call_ids: str) -> Story:
    """A story with a run that waits for the outputs of these calls."""
    return given(CREATE, run(claim=claim()), finish("", *(call_ids or ("call_1",))))


def cancelling_run() -> Story:
    """A story with a run that was cancelled while its model call was open."""
    return given(CREATE, run(claim=claim()), cancel())


def run_with_queue() -> Story:
    """A story with a run whose first model call is open, and run_2 and run_3 queued behind it."""
    return given(CREATE, run(claim=claim()), run("run_2", queue=True), run("run_3", queue=True))


def completed_run() -> Story:
    """A story whose run has completed."""
    return given(CREATE, run(claim=claim()), finish("Hello."))
