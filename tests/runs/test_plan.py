"""The next action of a run, as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from events.thread.events import LastError, Usage
from events.thread.run_status import ACTIVE
from events.thread.state import HostedToolCall, OpenModelCall, OpenToolStep, RunState
from service.runs.plan import (
    MAX_CALL_ATTEMPTS,
    MAX_CALL_DEATHS,
    MAX_CALLS,
    MAX_SHOWN_ATTEMPTS,
    MAX_TOOL_ATTEMPTS,
    MAX_TOOL_CALLS,
    MAX_TOOL_DEATHS,
    Action,
    Exhaust,
    Fail,
    LoseTool,
    PerformCall,
    PerformTool,
    Rest,
    StartCall,
    StartTool,
    Stop,
    plan,
)
from service.tools.registry import Tools
from tests.runs.fake_tool import FakeTool

BROKEN = LastError(code="server_error", message="It broke.")
LIMITED = LastError(code="rate_limit_exceeded", message="Slow down.")
GIVEN_UP = LastError(code="server_error", message="The model call was broken off 5 times.")
BROKEN_OFF = LastError(code="server_error", message="The model call was broken off 100 times.")
ENDLESS = LastError(code="server_error", message="The run made 200 model calls without an end.")
SPENT = Usage(prompt_tokens=100, completion_tokens=100)


def run(status: Any = "in_progress", call: OpenModelCall | None = None, calls: int = 0, **more: Any) -> RunState:
    defaults: dict[str, Any] = {"max_prompt_tokens": None, "max_completion_tokens": None, **more}
    return RunState("run_1", 1, "asst_1", status, 1000, epoch=1, process=1, calls=calls, call=call, **defaults)


def call(attempt: int = 1, broken: LastError | None = None, shown: bool = False, deaths: int = 0) -> OpenModelCall:
    failures = attempt if broken is not None else 0
    return OpenModelCall(1, attempt, "msg_1", "step_1", "step_2", 0, broken, shown, failures, deaths)


TABLE: list[tuple[str, RunState, tuple[int, int] | None, Action]] = [
    ("a new run", run("queued"), None, StartCall()),
    ("its call is ours", run(call=call()), (1, 1), PerformCall()),
    ("its call is another's", run(call=call()), None, StartCall()),
    ("an older attempt was ours", run(call=call(2)), (1, 1), StartCall()),
    ("the last attempt is ours", run(call=call(MAX_CALL_ATTEMPTS)), (1, MAX_CALL_ATTEMPTS), PerformCall()),
    ("many attempts were broken off in order", run(call=call(MAX_CALL_ATTEMPTS - 1)), None, StartCall()),
    ("its process has died too often", run(call=call(5, deaths=MAX_CALL_DEATHS)), None, Fail(GIVEN_UP)),
    ("it was broken off too often", run(call=call(MAX_CALL_ATTEMPTS)), None, Fail(BROKEN_OFF)),
    ("between calls", run("queued", calls=1), (1, 1), StartCall()),
    ("endless", run("queued", calls=MAX_CALLS), None, Fail(ENDLESS)),
    ("broken unseen", run(call=call(1, BROKEN)), (1, 1), Fail(BROKEN)),
    ("broken in mid-message", run(call=call(1, BROKEN, True)), (1, 1), StartCall(pause=0.5)),
    ("limited in mid-message", run(call=call(1, LIMITED, True)), (1, 1), Fail(LIMITED)),
    ("broken too often", run(call=call(MAX_SHOWN_ATTEMPTS, BROKEN, True)), (1, 3), Fail(BROKEN)),
    ("awaits its client", run("requires_action", calls=1), None, Rest()),
    ("cancelling", run("cancelling", call=call()), (1, 1), Stop()),
    ("cancelling, nothing open", run("cancelling"), None, Stop()),
    ("completions used up", run(usage=SPENT, max_completion_tokens=100), None, Exhaust("max_completion_tokens")),
    ("completions left", run(usage=SPENT, max_completion_tokens=101), None, StartCall()),
    ("prompts used up", run(usage=SPENT, max_prompt_tokens=100), None, Exhaust("max_prompt_tokens")),
    (
        "both used up",
        run(usage=SPENT, max_prompt_tokens=1, max_completion_tokens=1),
        None,
        Exhaust("max_completion_tokens"),
    ),
    (
        "an open call is carried on whatever it costs",
        run(call=call(), usage=SPENT, max_prompt_tokens=1),
        (1, 1),
        PerformCall(),
    ),
]


@pytest.mark.parametrize(("state", "ours", "action"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_plan(state: RunState, ours: tuple[int, int] | None, action: Action) -> None:
    assert plan(state, own_call=ours, missing=[], at=999.9) == action


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_time_that_is_up_comes_before_everything(status: str) -> None:
    assert plan(run(status, call=call()), own_call=(1, 1), missing=["x"], at=1000) == Stop()


def at_work(attempt: int, calls: int = 1, deaths: int = 0) -> RunState:
    hosted = (HostedToolCall("call_1", "code_interpreter", attempt, deaths), HostedToolCall("call_2", "file_search"))
    return run(step=OpenToolStep("step_1", ("call_3",), hosted=hosted), tool_calls=calls)


OPEN = at_work(1).step.open  # type: ignore[union-attr]
LAST = at_work(MAX_TOOL_ATTEMPTS).step.open  # type: ignore[union-attr]
DEAD = at_work(3, deaths=MAX_TOOL_DEATHS)
TOO_MANY = Fail(LastError(code="server_error", message="The run made more than 500 calls of tools without an end."))
HOSTED: list[tuple[str, RunState, Any, str, Any]] = [
    ("not begun", at_work(0), None, "again", StartTool()),
    ("its call is ours", at_work(1), ("call_1", 1), "report", PerformTool(OPEN)),  # type: ignore[arg-type]
    ("a lost one is made again", at_work(1), None, "again", StartTool()),
    ("an older attempt was ours", at_work(2), ("call_1", 1), "again", StartTool()),
    ("a lost one is reported", at_work(1), None, "report", LoseTool(OPEN)),  # type: ignore[arg-type]
    ("broken off in order", at_work(MAX_TOOL_ATTEMPTS - 1), None, "again", StartTool()),
    ("its process has died too often", DEAD, None, "again", LoseTool(DEAD.step.open)),  # type: ignore[union-attr,arg-type]
    ("lost too often", at_work(MAX_TOOL_ATTEMPTS), None, "again", LoseTool(LAST)),  # type: ignore[arg-type]
    ("endless", at_work(1, MAX_TOOL_CALLS + 1), ("call_1", 1), "again", TOO_MANY),
]


@pytest.mark.parametrize(("state", "ours", "policy", "action"), [row[1:] for row in HOSTED], ids=[r[0] for r in HOSTED])
def test_hosted_calls(state: RunState, ours: Any, policy: Any, action: Action) -> None:
    assert plan(state, own_call=ours, missing=[], at=0, after_crash=lambda kind: policy) == action
    cancelled = replace(state, status="cancelling")
    assert plan(cancelled, own_call=ours, missing=[], at=0, after_crash=lambda kind: policy) == Stop()


def test_missing_machinery() -> None:
    tools = [{"type": "function"}, {"type": "file_search"}, {"type": "code_interpreter"}, {"type": "file_search"}]
    missing = Tools().unavailable_reasons(tools)
    assert ["'file_search'" in missing[0], "'code_interpreter'" in missing[1], len(missing)] == [True, True, 2]
    assert Tools([FakeTool("file_search"), FakeTool("code_interpreter")]).unavailable_reasons(tools) == []
    off = FakeTool("code_interpreter", unavailable_reason="No namespaces here.")
    assert Tools([FakeTool("file_search"), off]).unavailable_reasons(tools) == ["No namespaces here."]
    action = plan(run("queued"), own_call=None, missing=missing, at=0)
    assert isinstance(action, Fail)
    assert action.error.message == " ".join(missing)
    # A missing tool neither fails a run that waits for outputs of the client, nor one that is being cancelled.
    assert plan(run("requires_action"), own_call=None, missing=missing, at=0) == Rest()
    assert plan(run("cancelling"), own_call=None, missing=missing, at=0) == Stop()
