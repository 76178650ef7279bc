"""Random histories of one thread, with every command of every actor, valid or not.

A `World` holds the facts that its actors know: the state, and the facts that callers read from views. Histories come
from a `random.Random`, so that Hypothesis can shrink them and a seed can repeat them against Postgres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from events.envelope import RecordedEvent
from events.event_log import number_events
from events.object_changes import run_patch
from events.objects import Message, Run, RunStatus, Step
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
    DeleteMessage,
    DeleteThread,
    ExhaustRun,
    ExpireRun,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    ForkThread,
    ImportThread,
    ModifyMessage,
    ModifyRun,
    ModifyThread,
    NewMessage,
    PartialReply,
    ReleaseRun,
    ReviewRun,
    StartModelCall,
    StartToolCall,
    StopRun,
    SubmitToolOutputs,
    ThreadCommand,
)
from events.thread.decide import decide
from events.thread.state import RunState, ThreadState, evolve
from tests.events.thread.story import ORIGIN, SETTINGS, T0

PROCESSES = (1, 2, 3)


class World:
    """One thread and the known facts about it. `lifetimes` are the lifetimes that runs get, in seconds."""

    def __init__(self, random: Random, thread_id: str = "thread_1", lifetimes: tuple[int, ...] = (5, 600)) -> None:
        self.random = random
        self.state = ThreadState(thread_id)
        self.log: list[RecordedEvent[e.ThreadEvent]] = []
        self.at: datetime = T0
        self.messages: dict[str, e.Role] = {}
        self.runs: dict[str, RunStatus] = {}
        self._lifetimes = lifetimes
        self._made = 0

    def do(self, command: ThreadCommand) -> list[RecordedEvent[e.ThreadEvent]]:
        """Decides and folds in memory. Raises the errors of `decide`."""
        self.at += timedelta(seconds=self.random.choice((0, 0, 0.3, 1, 2)))
        events = decide(self.state, command, self.at)
        recorded = number_events(self.state.id, len(self.log), events, self.at, ORIGIN)
        self.absorb(recorded)
        return recorded

    def absorb(self, recorded: list[RecordedEvent[Any]]) -> None:
        """Takes in appended events, from any process."""
        for entry in recorded:
            self.log.append(entry)
            self.state = evolve(self.state, entry)
            match entry.event:
                case e.MessageAdded(message_id=id, role=role):
                    self.messages[id] = role
                case e.MessageWritten(message_id=id):
                    self.messages[id] = "assistant"
                case e.MessageDeleted(message_id=id):
                    del self.messages[id]
                case e.RunCreated(run_id=id):
                    self.runs[id] = "queued"
                case e.MessageImported(message_id=id, role=role):
                    self.messages[id] = role
                case e.RunImported(run_id=id, body=body):
                    self.runs[id] = body["status"]
                case _:
                    status = (run_patch(entry) or {}).get("status")
                    if status is not None:
                        self.runs[entry.event.run_id] = status

    def next_command(self) -> ThreadCommand:
        """Returns the next command of some actor: mostly a valid one, sometimes an invalid one."""
        if not self.state.exists and not self.log:
            return self._thread()
        if self.state.run is None:
            makers: list[Callable[[], ThreadCommand]] = [self._run, self._run, self._add, self._modify, *self._rare]
        else:
            likely = self._likely(self.state.run)
            makers = [*likely, *likely, *likely, *likely, self._add, self._run, self._modify, *self._rare]
        return self.random.choice(makers)()

    @property
    def _rare(self) -> list[Callable[[], ThreadCommand]]:
        rare: list[Callable[[], ThreadCommand]] = [
            self._modify_message,
            self._delete_message,
            self._modify_run,
            self._review_run,
            self._submit,
            self._executor,
            self._cancel,
            lambda: ExpireRun(self._run_id(), self._claim()),
            lambda: ClaimRun(self._run_id(), self._process(), self.random.choice((None, *PROCESSES))),
            lambda: ForkThread(self._id("thread"), len(self.log)),
        ]
        return [*rare, DeleteThread] if self.random.random() < 0.1 else rare

    def _likely(self, run: RunState) -> list[Callable[[], ThreadCommand]]:
        if run.status == "requires_action":
            return [self._submit, self._submit, lambda: ExpireRun(run.id, self._claim()), self._cancel]
        if run.process is None:
            return [lambda: ClaimRun(run.id, self._process(), None)]
        return [self._executor, self._executor, lambda: ClaimRun(run.id, self._process(), run.process)]

    # Each command, with facts as views would return them.

    def _id(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}_{self.state.id}_{self._made}"

    def _thread(self) -> CreateThread | ImportThread:
        if self.random.random() < 0.2:
            return self._import()
        return CreateThread({"n": "1"}, {}, [self._message() for _ in range(self.random.randrange(3))])

    def _import(self) -> ImportThread:
        """Returns the import of a fork: a message, a run that ended early, its step and its answer."""
        content = [{"type": "text", "text": {"value": "Grüße", "annotations": []}}]
        calls = [{"type": "function", "id": self._id("call"), "function": {"name": "f", "arguments": "{}"}}]
        asked = Message(self._id("msg"), "", 1, "user", content, [], {"n": "1"}, ended_at=1)
        run = Run(
            id=self._id("run"),
            thread_id="",
            created_at=2,
            expires_at=None,
            status=self.random.choice(("cancelled", "completed", "expired")),
            **{name: getattr(SETTINGS, name) for name in SETTINGS.__slots__} | {"tools": [], "explicit_defaults": []},
        )
        steps = [
            Step(self._id("step"), "", run.id, "asst_1", 3, 9, "tool_calls", None, calls, "cancelled", ended_at=4)
            for _ in range(self.random.randrange(3))
        ]
        said = Message(self._id("msg"), "", 4, "assistant", content, [], {}, "asst_1", run.id, "completed", None, 5)
        origin = e.ThreadOrigin(thread_id="thread_0", version=7)
        return ImportThread({"n": "1"}, {}, origin, [asked, run, *steps, said])

    def _message(self) -> NewMessage:
        text = self.random.choice(("", "Hi", "Grüße, 世界 🎉", 'quo"te\\'))
        content = [{"type": "text", "text": {"value": text, "annotations": []}}]
        tool = self.random.choice(("code_interpreter", "file_search"))
        file_id = f"file-{self.random.randrange(5)}"
        attachments = self.random.choice(((), (), [{"file_id": file_id, "tools": [{"type": tool}]}]))
        return NewMessage(self._id("msg"), self.random.choice(("user", "user", "assistant")), content, attachments, {})

    def _add(self) -> AddMessage:
        return AddMessage(self._message(), self._queue())

    def _queue(self) -> bool:
        return self.random.random() < 0.5

    def _modify(self) -> ModifyThread:
        return ModifyThread({"metadata": {"n": str(self._made)}})

    def _modify_message(self) -> ModifyMessage:
        id = self.random.choice([*self.messages, "msg_none"])
        return ModifyMessage(id, id in self.messages, {"n": str(self._made)})

    def _delete_message(self) -> DeleteMessage:
        id = self.random.choice([*self.messages, "msg_none"])
        return DeleteMessage(id, self.messages.get(id))

    def _run(self) -> CreateRun:
        budget = self.random.choice((None, None, 20))
        settings = replace(SETTINGS, instructions=self.random.choice((None, "Be brief.")), max_completion_tokens=budget)
        messages = [self._message() for _ in range(self.random.randrange(2))]
        lifetime = self.random.choice(self._lifetimes)
        return CreateRun(self._id("run"), settings, messages, lifetime, self._claim(), queue=self._queue())

    def _claim(self) -> Claim | None:
        return self.random.choice((None, Claim(self._process(), None), Claim(self._process(), self._call_ids())))

    def _call_ids(self) -> CallIds:
        return CallIds(self._id("msg"), self._id("step"), self._id("step"))

    def _process(self) -> int:
        return self.random.choice(PROCESSES)

    def _run_id(self) -> str:
        active = [self.state.run.id] * 3 if self.state.run else []
        waiting = [one.run.id for one in self.state.waiting]
        return self.random.choice([*active, *waiting, *self.runs, "run_none"])

    def _modify_run(self) -> ModifyRun:
        id = self._run_id()
        return ModifyRun(id, self.runs.get(id), {"n": str(self._made)})

    def _review_run(self) -> ReviewRun:
        id = self._run_id()
        return ReviewRun(id, self.runs.get(id), self.random.choice(["good", "bad", None]), str(self._made))

    def _cancel(self) -> CancelRun:
        id = self._run_id()
        return CancelRun(id, self.runs.get(id), self._claim())

    def _submit(self) -> SubmitToolOutputs:
        id, run = self._run_id(), self.state.run
        owed = list(run.step.call_ids) if run and run.step else ["call_none"]
        if self.random.random() < 0.3:
            owed = self.random.choice((owed[1:], [*owed, "call_none"], owed + owed[:1]))
        outputs = [e.ToolOutput(tool_call_id=id, output=f"out of {id}") for id in owed]
        return SubmitToolOutputs(id, self.runs.get(id), outputs, self._claim())

    def _said(self) -> PartialReply:
        text = self.random.choice(("", "", "Hello.", "Grüße 🎉"))
        refusal = self.random.choice(("", "", "", "No."))
        calls = [self._call() for _ in range(self.random.choice((0, 0, 1, 2, 3)))]
        images = self.random.choice(((), (), ("file-1",)))
        attachments = self.random.choice(((), ({"file_id": "file-2", "tools": [{"type": "code_interpreter"}]},)))
        annotations = []
        if text and self.random.random() < 0.3:
            mark, start = "【4:0†a.txt】", len(text)
            cited = {"type": "file_citation", "text": mark, "start_index": start, "end_index": start + len(mark)}
            annotations = [{**cited, "file_citation": {"file_id": "file-1", "quote": "cake"}}]
            text += mark + self.random.choice(("", "."))
        return PartialReply(text, refusal, calls, annotations, images, attachments)

    def _call(self) -> dict[str, Any]:
        id = self._id("call")
        match self.random.choice(("function", "code_interpreter", "file_search")):
            case "code_interpreter" as kind:
                return {"id": id, "type": kind, "name": kind, "arguments": '{"code": "1 + 1"}'}
            case "file_search" as kind:
                ranking = {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}}
                return {"id": id, "type": kind, "name": kind, "arguments": '{"queries": ["q"]}', kind: ranking}
            case _:
                return {"id": id, "name": "f", "arguments": "{}"}

    def _tool_finish(self, run: RunState, epoch: int) -> FinishToolCall:
        """Mostly the result of the open hosted call; sometimes that of an attempt or a call that is not open."""
        assert run.step is not None
        call = self.random.choice(run.step.hosted)
        attempt = max(call.attempt, 1) + (self.random.random() < 0.1)
        outcome: Any = self.random.choice(("finished", "finished", "failed", "lost", "refused"))
        made = [entry.event for entry in self.log if isinstance(entry.event, e.StepCreated)]
        step = next(event for event in made if event.step_id == run.step.step_id)
        functions = [one for one in step.tool_calls if one["type"] == "function"]
        files = [e.ToolFile(file_id="file-2", path="/mnt/data/a.csv")] * self.random.randrange(2)
        found = {"outcome": outcome, "shown": _shown(call.type), "output": "2 世界", "files": files}
        return FinishToolCall(run.id, epoch, call.id, attempt, functions=functions, **found)

    def _usage(self) -> e.Usage:
        return e.Usage(prompt_tokens=self.random.randrange(9), completion_tokens=self.random.randrange(9))

    def _executor(self) -> ThreadCommand:
        run = self.state.run
        id = run.id if run else self._run_id()
        epoch = (run.epoch if run else 1) - (self.random.random() < 0.15)
        error = e.LastError(code=self.random.choice(("server_error", "invalid_prompt")), message="It broke.")
        reason: Any = self.random.choice(("stop", "stop", "tool_calls", "length", "content_filter"))
        starts: list[ThreadCommand] = [StartModelCall(id, epoch, self._call_ids())]
        ends: list[ThreadCommand] = [
            FinishModelCall(id, epoch, self._said(), reason, "m-1", self._usage()),
            FinishModelCall(id, epoch, self._said(), reason, "m-1", self._usage()),
            BreakModelCall(id, epoch, self._said(), error, self._usage()),
        ]
        rest: list[ThreadCommand] = [
            FailRun(id, epoch, error),
            StopRun(id, epoch, self._said(), self._usage()),
            ExhaustRun(id, epoch, "max_prompt_tokens"),
            ReleaseRun(id, epoch),
        ]
        if run and run.step and run.step.hosted:
            tools: list[ThreadCommand] = [self._tool_finish(run, epoch), StartToolCall(id, epoch)]
            tools += [self._tool_finish(run, epoch) for _ in range(5)]
            shown = self.random.choice((None, _shown(run.step.hosted[0].type)))
            return self.random.choice([*tools, *tools, *rest, StopRun(id, epoch, PartialReply(), e.Usage(), shown)])
        return self.random.choice((ends * 3 if run and run.call else starts * 6) + rest)


def _shown(kind: str) -> dict[str, Any]:
    if kind == "file_search":
        found = {"file_id": "file-1", "file_name": "a.txt", "score": 0.5, "attributes": {}}
        return {"results": [{**found, "content": [{"type": "text", "text": "cake"}]}]}
    return {"outputs": [{"type": "logs", "logs": "2\n"}, {"type": "image", "image": {"file_id": "file-1"}}]}
