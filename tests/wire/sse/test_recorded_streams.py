"""Events and deltas that are derived from recorded frames lead to the same frames, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from events.actors import CommandLineActor
from events.envelope import Event, RecordedEvent
from events.object_changes import initial_run, initial_step, run_patch
from events.objects import Run, Step
from events.thread import events as e
from service.deltas import MessageTextDelta, StepCallDelta
from service.wire import v2
from service.wire.sse.run_stream import RunStream
from tests.wire.replay import RECORDINGS

# The key that our steps have beyond the recorded ones.
_OURS = re.compile(rb'"expired_at":(null|\d+),')


@dataclass
class RecordedThread:
    """Derives the events and deltas of a thread from its recorded frames, with the times in the frames."""

    thread_id: str = ""
    log: list[RecordedEvent[Any]] = field(default_factory=list)
    message: Any = None
    step: Any = None
    at: int = 0

    def items(self, frames: list[tuple[str, Any]]) -> Iterator[Any]:
        """Yields the events and deltas that lead to these frames, in order."""
        for event, data in frames:
            for made in self._made(event, data):
                if isinstance(made, Event):
                    at = datetime.fromtimestamp(self.at, UTC)
                    recorded = RecordedEvent(self.thread_id, len(self.log) + 1, at, made, "proj_1", CommandLineActor())
                    self.log.append(recorded)
                    yield recorded
                else:
                    yield made

    def _made(self, event: str, data: Any) -> Iterator[Any]:
        match event:
            case "thread.created":
                self.at, self.thread_id = data["created_at"], data["id"]
                yield e.ThreadCreated(metadata={}, tool_resources={})
            case "thread.run.created":
                self.at, self.thread_id = data["created_at"], data["thread_id"]
                settings = {key: data[key] for key in e.RunCreated.model_fields if key in data}
                yield e.RunCreated(run_id=data["id"], **{**settings, "tool_resources": {}})
            case "thread.run.queued" if data["started_at"] is not None:
                yield e.RunQueued(run_id=data["id"])
            case "thread.run.in_progress":
                self.at = data["started_at"]
                yield e.RunStarted(run_id=data["id"])
            case "thread.run.step.created":
                self.step = data
            case "thread.message.created":
                self.message = data
            case "thread.message.delta":
                [part] = data["delta"]["content"]
                ids = (self.message["run_id"], self.message["id"], self.step["id"])
                yield MessageTextDelta(*ids, self.step["created_at"], part["text"]["value"])
            case "thread.run.step.delta":
                [call] = data["delta"]["step_details"]["tool_calls"]
                function = call["function"]
                ids = (self.step["run_id"], self.step["id"], self.step["created_at"])
                yield StepCallDelta(*ids, call["index"], call.get("id"), function.get("name"), function["arguments"])
            case _:
                yield from self._ended(event, data)

    def _ended(self, event: str, data: Any) -> Iterator[Any]:
        match event:
            case "thread.message.completed":
                self.at = data["completed_at"]
                yield self._step_created([])
                yield e.MessageWritten(
                    message_id=data["id"],
                    incomplete_reason=None,
                    **{key: data[key] for key in ("run_id", "assistant_id", "content", "status", "created_at")},
                )
            case "thread.run.requires_action":
                calls = data["required_action"]["submit_tool_outputs"]["tool_calls"]
                yield self._step_created(calls)
                yield e.RunRequiresAction(run_id=data["id"], tool_calls=calls)
            case "thread.run.step.completed":
                self.at = data["completed_at"]
                ids = {"run_id": data["run_id"], "step_id": data["id"]}
                if calls := data["step_details"].get("tool_calls"):
                    outputs = [e.ToolOutput(tool_call_id=one["id"], output=one["function"]["output"]) for one in calls]
                    yield e.ToolOutputsSubmitted(outputs=outputs, **ids)
                usage = _usage(data["usage"])
                yield e.StepEnded(status="completed", ended_at=self.at, last_error=None, usage=usage, **ids)
            case "thread.run.completed":
                self.at = data["completed_at"]
                yield e.RunCompleted(run_id=data["id"], usage=_usage(data["usage"]))
            case _:
                pass

    def _step_created(self, calls: list[Any]) -> e.StepCreated:
        step = self.step
        return e.StepCreated(
            step_id=step["id"],
            kind=step["type"],
            message_id=step["step_details"].get("message_creation", {}).get("message_id"),
            tool_calls=calls,
            usage=e.Usage(),
            **{key: step[key] for key in ("run_id", "assistant_id", "created_at", "expires_at")},
        )

    def as_of_now(self) -> tuple[Run, Step]:
        """Returns the run and its open step, with which a stream of submitted outputs begins."""
        [run] = [initial_run(entry) for entry in self.log if isinstance(entry.event, e.RunCreated)]
        for entry in self.log:
            for name, value in (run_patch(entry) or {}).items():
                object.__setattr__(run, name, value)
        return run, [initial_step(entry) for entry in self.log if isinstance(entry.event, e.StepCreated)][-1]


def _usage(shown: Any) -> e.Usage:
    return e.Usage(
        prompt_tokens=shown["prompt_tokens"],
        completion_tokens=shown["completion_tokens"],
        cached_tokens=shown["prompt_token_details"]["cached_tokens"],
        reasoning_tokens=shown["completion_tokens_details"]["reasoning_tokens"],
    )


def _streams(name: str) -> list[bytes]:
    recording = orjson.loads((RECORDINGS / f"{name}.json").read_bytes())
    found = [one["response"] for one in recording["exchanges"] if isinstance(one["response"], list)]
    return ["".join(lines).encode() for lines in found]


def _parse(stream: bytes) -> list[tuple[str, Any]]:
    found = re.findall(r"event: (\S+)\ndata: (.*)\n\n", stream.decode())
    return [(event, data if data == "[DONE]" else orjson.loads(data)) for event, data in found]


@pytest.mark.parametrize("name", ["streaming_run_works", "streaming_tool_call"])
def test_byte_for_byte(name: str) -> None:
    behind = RecordedThread()
    for number, recorded in enumerate(_streams(name)):
        stream = RunStream(v2.WIRE)
        if number > 0:
            run, step = behind.as_of_now()
            stream = RunStream(v2.WIRE, run=run, steps=[step])
        frames = [frame for item in behind.items(_parse(recorded)) for frame in stream.feed(item)]
        ours = re.sub(rb"(?m)^id: .*\n", b"", _OURS.sub(b"", b"".join(frames)))
        assert ours.split(b"\n\n") == recorded.split(b"\n\n")
        assert stream.is_finished
