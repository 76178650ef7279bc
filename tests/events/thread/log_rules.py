"""Rules that every log of a thread must obey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from events.envelope import RecordedEvent
from events.thread import events as e


def find_problems(log: Iterable[RecordedEvent[e.ThreadEvent]]) -> Iterable[str]:
    """Returns the violations in a log: objects created twice, more than one open at once, ends that leave something
    open.
    """
    made: Counter[str] = Counter()
    ended: Counter[tuple[str, int, int]] = Counter()
    step: e.StepCreated | None = None
    call: tuple[int, int] | None = None
    hosted: list[str] = []
    tool: tuple[str, int] | None = None
    usage = e.Usage()
    line = RunQueue()
    for entry in log:
        yield from (f"{entry.version}: {problem}" for problem in line.problems(entry.event))
        match entry.event:
            case e.RunCreated(run_id=id, lifetime=lifetime):
                made[id] += 1
                if lifetime is None:
                    usage, call, step = e.Usage(), None, None
            case e.RunAdmitted():
                usage, call, step = e.Usage(), None, None
            case e.MessageAdded(message_id=id) | e.MessageWritten(message_id=id) | e.MessageImported(message_id=id):
                made[id] += 1
            case e.RunImported(run_id=id) | e.StepImported(step_id=id):
                made[id] += 1
            case e.ModelCallStarted(call=number, attempt=attempt):
                if call is not None and (number, attempt) != (call[0], call[1] + 1):
                    yield f"{entry.version}: call {number}.{attempt} started while {call} was open"
                call = (number, attempt)
            case e.ModelCallFinished() | e.ModelCallFailed() | e.ModelCallStopped() as end:
                if call != (end.call, end.attempt):
                    yield f"{entry.version}: {end.type} of {end.call}.{end.attempt} while {call} was open"
                ended[end.run_id, end.call, end.attempt] += 1
                call = None
            case e.StepCreated() as created:
                made[created.step_id] += 1
                if step is not None:
                    yield f"{entry.version}: two open steps"
                step = created
                hosted = [one["id"] for one in created.tool_calls if one["type"] != "function"]
            case e.ToolCallStarted(call_id=id, attempt=attempt):
                if call is not None or not hosted or (id, attempt) != (hosted[0], tool[1] + 1 if tool else 1):
                    yield f"{entry.version}: {id}.{attempt} started while {hosted}, {tool} and {call} were open"
                tool = (id, attempt)
            case e.ToolCallFinished() | e.ToolCallStopped() as end:
                if tool != (end.call_id, end.attempt):
                    yield f"{entry.version}: {end.type} of {end.call_id}.{end.attempt} while {tool} was open"
                hosted, tool = hosted[1:], None
            case e.RunRequiresAction(tool_calls=calls):
                if tool is not None or hosted:
                    yield f"{entry.version}: the client is asked while {hosted} are open"
                if step is None or calls != [one for one in step.tool_calls if one["type"] == "function"]:
                    yield f"{entry.version}: the client is asked for something else than the step's functions"
            case e.StepEnded(step_id=id) as end:
                if step is None or step.step_id != id:
                    yield f"{entry.version}: {id} ended without being open"
                elif end.usage != step.usage:
                    yield f"{entry.version}: {id} ended with another usage than announced"
                elif tool is not None or (hosted and end.status == "completed"):
                    yield f"{entry.version}: {id} ended with {hosted} open"
                usage, step, hosted = usage + end.usage, None, []
            case (e.RunCancelled() | e.RunCompleted() | e.RunIncomplete() | e.RunFailed() | e.RunExpired()) as over:
                if over.run_id in line.unbegun:
                    if over.usage != e.Usage():
                        yield f"{entry.version}: a run that never began used {over.usage}"
                    continue
                if call is not None or step is not None:
                    yield f"{entry.version}: {over.type} with something open"
                if over.usage != usage:
                    yield f"{entry.version}: steps' usages sum to {usage}, the run's is {over.usage}"
            case _:
                pass
    yield from line.left_over()
    yield from (f"{id} was made {count} times" for id, count in made.items() if count > 1)
    yield from (f"call {key} ended {count} times" for key, count in ended.items() if count > 1)


class RunQueue:
    """The runs of a thread in order: the active one and the queued ones. `unbegun` are those that ended while they were
    queued.
    """

    def __init__(self) -> None:
        self.active: str | None = None
        self.waiting: list[str] = []
        self.unbegun: set[str] = set()
        self._free = False

    def problems(self, event: e.ThreadEvent) -> Iterable[str]:
        # The next queued run starts at once; only the deletion of the thread ends all of them.
        if self._free and not isinstance(event, e.RunAdmitted | e.RunCancelling | e.RunCancelled | e.ThreadDeleted):
            yield f"{event.type} while {self.waiting} wait and nobody is active"
        match event:
            case e.RunCreated(run_id=id, lifetime=None):
                if self.active is not None:
                    yield f"{id} began while {self.active} was active"
                self.active = id
            case e.RunCreated(run_id=id):
                if self.active is None:
                    yield f"{id} waits for nobody"
                self.waiting.append(id)
            case e.RunAdmitted(run_id=id):
                if self.active is not None or self.waiting[:1] != [id]:
                    yield f"{id} was admitted while {self.active} was active and {self.waiting} waited"
                self.active, self._free = self.waiting.pop(0), False
            case e.RunCancelled() | e.RunCompleted() | e.RunIncomplete() | e.RunFailed() | e.RunExpired():
                self._ended(event.run_id)
            case e.RunClaimed(run_id=id) | e.RunStarted(run_id=id) | e.ModelCallStarted(run_id=id):
                if id != self.active:
                    yield f"{event.type} of {id} while {self.active} was active"
            case _:
                pass

    def left_over(self) -> Iterable[str]:
        if self._free:
            yield f"{self.waiting} wait and nobody is active"

    def _ended(self, run_id: str) -> None:
        if run_id == self.active:
            self.active = None
            self._free = bool(self.waiting)
        else:
            self.waiting.remove(run_id)
            self.unbegun.add(run_id)
            self._free = self._free and bool(self.waiting)
