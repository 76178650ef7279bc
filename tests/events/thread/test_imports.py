"""The import of a new thread with objects from elsewhere, and the record of a fork in its origin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from events.errors import NotFound, Rejection
from events.event_log import number_events
from events.object_changes import imported_message, imported_run, imported_step
from events.objects import Message, Run, Step
from events.thread import events as e
from events.thread.commands import AddMessage, CreateThread, ForkThread, ImportThread, NewMessage
from events.thread.decide import decide
from events.thread.state import ThreadState, evolve
from tests.events.thread.story import ORIGIN, T0

NEW = ThreadState("thread_2")
MESSAGE = Message("msg_1", "thread_1", 5, "user", [], [], {}, ended_at=5)
RUN = Run(
    id="run_1",
    thread_id="thread_1",
    created_at=6,
    assistant_id="asst_1",
    model="m",
    instructions=None,
    tools=[],
    tool_resources={},
    metadata={"k": "v"},
    temperature=None,
    top_p=None,
    reasoning_effort=None,
    response_format="auto",
    tool_choice="auto",
    parallel_tool_calls=True,
    truncation_strategy={"type": "auto", "last_messages": None},
    max_prompt_tokens=None,
    max_completion_tokens=None,
    expires_at=None,
    status="completed",
    completed_at=9,
)
FUNCTION = {"name": "f", "arguments": "{}"}
CALLS = [
    {"id": "call_1", "type": "code_interpreter", "function": FUNCTION},
    {"id": "call_2", "type": "function", "function": FUNCTION},
]
STEP = Step(
    id="step_1",
    thread_id="thread_1",
    run_id="run_1",
    assistant_id="asst_1",
    created_at=7,
    expires_at=600,
    type="tool_calls",
    message_id=None,
    tool_calls=CALLS,
    status="completed",
    outputs={"call_2": "x"},
    results={"call_1": {"shown": {}, "output": "", "files": [], "citations": []}},
    ended_at=8,
)
ANSWER = Message("msg_2", "thread_1", 8, "assistant", [], [], {}, "asst_1", "run_1", "completed", None, 9)
COMMAND = ImportThread({"a": "b"}, {}, e.ThreadOrigin(thread_id="thread_1", version=9), [MESSAGE, RUN, STEP, ANSWER])


def test_objects_come_back_as_they_were_imported() -> None:
    created, *others = decide(NEW, COMMAND, T0)
    assert created == e.ThreadCreated(
        metadata={"a": "b"}, tool_resources={}, origin=e.ThreadOrigin(thread_id="thread_1", version=9)
    )
    message, run, step, answer = number_events("thread_2", 1, others, T0, ORIGIN)
    assert imported_message(message) == replace(MESSAGE, thread_id="thread_2")
    assert imported_run(run) == replace(RUN, thread_id="thread_2")
    assert imported_step(step) == replace(STEP, thread_id="thread_2")
    assert imported_message(answer) == replace(ANSWER, thread_id="thread_2")
    assert (step.event.run_distance, answer.event.run_distance) == (1, 2)


def test_the_state_counts_messages_and_hosted_calls_and_has_no_run() -> None:
    state = NEW
    for recorded in number_events("thread_2", 0, decide(NEW, COMMAND, T0), T0, ORIGIN):
        state = evolve(state, recorded)
    assert state == ThreadState("thread_2", exists=True, user_messages=1, tool_calls=1)
    assert decide(state, AddMessage(NewMessage("msg_9", "user", [], [], {})), T0)


def test_a_thread_that_exists_takes_no_import() -> None:
    [created] = number_events("thread_2", 0, decide(NEW, CreateThread({}, {}, []), T0), T0, ORIGIN)
    with pytest.raises(Rejection, match="already exists"):
        decide(evolve(NEW, created), COMMAND, T0)


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ([MESSAGE, MESSAGE], "Two objects"),
        ([replace(RUN, status="in_progress")], "has not ended"),
        ([RUN, replace(STEP, status="in_progress")], "has not ended"),
        ([STEP, RUN], "before its run"),
    ],
)
def test_an_import_that_fits_no_thread_is_refused(objects: list[Message | Run | Step], reason: str) -> None:
    with pytest.raises(Rejection, match=reason):
        decide(NEW, ImportThread({}, {}, None, objects), T0)


def test_a_message_of_a_run_from_elsewhere_stands_at_its_own_place() -> None:
    _, message = decide(NEW, ImportThread({}, {}, None, [ANSWER]), T0)
    assert isinstance(message, e.MessageImported)
    assert message.run_distance is None


def test_a_fork_is_recorded_in_a_thread_that_exists() -> None:
    [created] = number_events("thread_2", 0, decide(NEW, CreateThread({}, {}, []), T0), T0, ORIGIN)
    state = evolve(NEW, created)
    [forked] = number_events("thread_2", 1, decide(state, ForkThread("thread_3", 1), T0), T0, ORIGIN)
    assert forked.event == e.ThreadForked(fork_id="thread_3", version=1)
    assert evolve(state, forked) == state
    with pytest.raises(NotFound):
        decide(NEW, ForkThread("thread_3", 1), T0)
