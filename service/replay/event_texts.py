"""One line of text for each event of a run, and for each action of its plan. Pure."""

from __future__ import annotations

from typing import assert_never

import orjson

from events.envelope import JsonObject
from events.thread import events as e
from service.runs.plan import (
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
)


def describe_event(event: e.ThreadEvent) -> str:
    """Returns the facts of an event that its type does not say."""
    match event:
        case e.RunCreated(model=model, assistant_id=assistant_id, expires_at=expires_at):
            waits = ", waits for another run" if expires_at is None else ""
            return f"{model}, {assistant_id}{waits}"
        case e.RunClaimed(epoch=epoch, process=process):
            return f"process {process}, claim {epoch}"
        case e.RunReleased(epoch=epoch):
            return f"claim {epoch}: the process stopped in order"
        case e.RunRequiresAction(tool_calls=calls):
            return ", ".join(_call_text(call) for call in calls)
        case e.RunIncomplete(reason=reason, usage=usage):
            return f"{reason}, {_usage_text(usage)}"
        case e.RunFailed(error=error, usage=usage):
            return f"{_error_text(error)}, {_usage_text(usage)}"
        case e.RunExpired(error=error, usage=usage):
            return f"{'no reason' if error is None else _error_text(error)}, {_usage_text(usage)}"
        case e.RunCompleted(usage=usage) | e.RunCancelled(usage=usage):
            return _usage_text(usage)
        case e.ModelCallStarted(call=call, attempt=attempt):
            return f"call {call}, attempt {attempt}"
        case e.ModelCallFinished(call=call, attempt=attempt, finish_reason=reason, model=model, usage=usage):
            return f"call {call}, attempt {attempt}: {reason}, {model}, {_usage_text(usage)}"
        case e.ModelCallFailed(call=call, attempt=attempt, error=error, shown=shown, usage=usage):
            seen = ", clients saw a part" if shown else ""
            return f"call {call}, attempt {attempt}: {_error_text(error)}{seen}, {_usage_text(usage)}"
        case e.ModelCallStopped(call=call, attempt=attempt, usage=usage):
            return f"call {call}, attempt {attempt}, {_usage_text(usage)}"
        case e.StepCreated(step_id=step_id, kind="message_creation", message_id=message_id):
            return f"{step_id}, {message_id}"
        case e.StepCreated(step_id=step_id, tool_calls=calls):
            return f"{step_id}, {', '.join(_call_text(call) for call in calls)}"
        case e.StepEnded(step_id=step_id, status=status, last_error=error):
            return f"{step_id}: {status}{'' if error is None else f', {_error_text(error)}'}"
        case e.ToolOutputsSubmitted(outputs=outputs):
            return ", ".join(f"{output.tool_call_id}: {_one_line(output.output)}" for output in outputs)
        case e.ToolCallStarted(call_id=call_id, attempt=attempt):
            return f"{call_id}, attempt {attempt}"
        case e.ToolCallFinished(call_id=call_id, attempt=attempt, outcome=outcome, output=output):
            return f"{call_id}, attempt {attempt}: {outcome}, {_one_line(output)}"
        case e.ToolCallStopped(call_id=call_id, attempt=attempt):
            return f"{call_id}, attempt {attempt}"
        case e.MessageWritten(message_id=message_id, content=content, status=status, incomplete_reason=reason):
            cut = "" if reason is None else f" ({status}: {reason})"
            return f"{message_id}{cut}: {_one_line(_text_of(content))}"
        case e.MessageAdded(message_id=message_id, role=role, content=content):
            return f"{message_id}, {role}: {_one_line(_text_of(content))}"
        case e.RunModified(metadata=metadata) | e.MessageModified(metadata=metadata):
            return orjson.dumps(metadata).decode()
        case e.RunReviewed(rating=rating, note=note):
            return ": ".join(part for part in (rating, note and _one_line(note)) if part)
        case e.RunAdmitted() | e.RunQueued() | e.RunStarted() | e.RunCancelling():
            return ""
        case e.MessageImported(message_id=message_id, role=role, body=body):
            return f"{message_id}, {role}: {_one_line(_text_of(body['content']))}"
        case e.RunImported(body=body):
            return f"copied: {body['model']}, {body['status']}"
        case e.StepImported(step_id=step_id, kind=kind):
            return f"{step_id}, {kind}"
        case e.ThreadForked(fork_id=fork_id, version=version):
            return f"{fork_id}, as of version {version}"
        case e.ThreadCreated() | e.ThreadModified() | e.ThreadDeleted() | e.MessageDeleted():
            return ""
        case _:
            assert_never(event)


def describe_action(action: Action) -> str:
    """Returns what `plan` chose, and why."""
    match action:
        case StartCall(pause=pause):
            after = f" after a pause of {pause:g} s, since the last attempt broke off" if pause else ""
            return f"start an attempt at a model call{after}"
        case PerformCall():
            return "make the model call that this process has journaled"
        case StartTool():
            return "start an attempt at a call of a hosted tool"
        case PerformTool(call=call):
            return f"carry out {call.id} ({call.type}), which this process has journaled"
        case LoseTool(call=call):
            return f"report {call.id} ({call.type}) as lost: the process that carried it out died"
        case Stop():
            return "end the run: it is cancelled, or its time is over"
        case Fail(error=error):
            return f"end the run as failed: {_error_text(error)}"
        case Exhaust(reason=reason):
            return f"end the run as incomplete: the budget {reason} is spent"
        case Rest():
            return "wait for the outputs of the client"
        case _:
            assert_never(action)


def _call_text(call: JsonObject) -> str:
    function = call.get("function") or {}
    name = function.get("name") or call.get("type")
    return f"{call.get('id')} {name}({_one_line(str(function.get('arguments', '')))})"


def _usage_text(usage: e.Usage) -> str:
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    return f"{usage.prompt_tokens:,}{cached} + {usage.completion_tokens:,} tokens"


def _error_text(error: e.LastError) -> str:
    return f"{error.code}: {_one_line(error.message)}"


def _text_of(content: list[JsonObject]) -> str:
    """Returns the text of the parts of a message; other parts as their type in brackets."""
    parts = []
    for part in content:
        text = part.get("text")
        value = text.get("value", "") if isinstance(text, dict) else text
        parts.append(value if isinstance(value, str) else f"[{part.get('type')}]")
    return " ".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())
