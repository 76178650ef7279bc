"""What any log of a thread must keep to, whoever made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from events import thread_events as e
from events.event import Recorded


def problems(log: Iterable[Recorded[e.ThreadEvent]]) -> Iterable[str]:
    """What is wrong in a log: objects made twice, more than one open at once, ends that leave something open."""
    made: Counter[str] = Counter()
    ended: Counter[tuple[str, int, int]] = Counter()
    step: e.StepCreated | None = None
    call: tuple[int, int] | None = None
    usage = e.Usage()
    for entry in log:
        match entry.event:
            case e.RunCreated(run_id=id):
                made[id] += 1
                usage, call, step = e.Usage(), None, None
            case e.MessageAdded(message_id=id) | e.MessageWritten(message_id=id):
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
            case e.StepEnded(step_id=id) as end:
                if step is None or step.step_id != id:
                    yield f"{entry.version}: {id} ended without being open"
                elif end.usage != step.usage:
                    yield f"{entry.version}: {id} ended with another usage than announced"
                usage, step = usage + end.usage, None
            case (e.RunCancelled() | e.RunCompleted() | e.RunIncomplete() | e.RunFailed() | e.RunExpired()) as over:
                if call is not None or step is not None:
                    yield f"{entry.version}: {over.type} with something open"
                if over.usage != usage:
                    yield f"{entry.version}: steps' usages sum to {usage}, the run's is {over.usage}"
            case _:
                pass
    yield from (f"{id} was made {count} times" for id, count in made.items() if count > 1)
    yield from (f"call {key} ended {count} times" for key, count in ended.items() if count > 1)
