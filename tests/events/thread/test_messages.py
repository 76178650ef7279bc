"""The thread itself and its messages: refusals, and the lock of an active run."""

from __future__ import annotations

import pytest

from events.errors import DomainError, NotFound, Rejection
from events.thread import events as e
from events.thread.commands import (
    CreateRun,
    CreateThread,
    DeleteMessage,
    DeleteThread,
    ModifyMessage,
    ModifyRun,
    ModifyThread,
    ThreadCommand,
)
from tests.events.thread.story import (
    CREATE,
    LIFETIME,
    SETTINGS,
    Story,
    add,
    break_call,
    cancel,
    cancelling_run,
    claim,
    completed_run,
    expire,
    fail,
    finish,
    given,
    message,
    queued_run,
    run,
    run_awaiting_outputs,
    start,
    stop,
    submit,
    take,
    types_of,
    working_run,
)

LOCKED = {
    "queued": queued_run,
    "in_progress": working_run,
    "requires_action": run_awaiting_outputs,
    "cancelling": cancelling_run,
}


def test_a_thread_comes_with_its_messages() -> None:
    story = Story()
    events = story.do(CreateThread({"a": "b"}, {}, (message("one", "msg_1"), message("two", "msg_2", "assistant"))))
    assert types_of(events) == ["thread.created", "message.added", "message.added"]
    assert story.state.user_messages == 1


@pytest.mark.parametrize(
    "command",
    [
        ModifyThread({}),
        DeleteThread(),
        add(),
        ModifyMessage("msg_1", True, {}),
        DeleteMessage("msg_1", "user"),
        run(),
        ModifyRun("run_1", None, {}),
        submit("call_1"),
        cancel(),
    ],
    ids=lambda command: type(command).__name__,
)
@pytest.mark.parametrize("deleted", [False, True])
def test_a_thread_that_is_not_there_refuses_everything(command: ThreadCommand, deleted: bool) -> None:
    story = given(CREATE, DeleteThread()) if deleted else Story()
    with pytest.raises(NotFound, match="No thread found with id 'thread_1'"):
        story.do(command)


@pytest.mark.parametrize("status", LOCKED)
def test_an_active_run_locks_its_thread(status: str) -> None:
    story = LOCKED[status]()
    assert story.run.status == status
    with pytest.raises(Rejection, match="Can't add messages to thread_1 while a run run_1 is active"):
        story.do(add())
    with pytest.raises(Rejection, match="Thread thread_1 already has an active run run_1"):
        story.do(run("run_2"))


def test_the_end_of_the_run_unlocks_the_thread() -> None:
    story = completed_run()
    story.do(add())
    story.do(run("run_2"))
    assert story.run.id == "run_2"


def test_modifying_and_deleting_are_not_locked() -> None:
    story = working_run()
    assert types_of(story.do(ModifyThread({"metadata": {"a": "b"}}))) == ["thread.modified"]
    assert types_of(story.do(ModifyMessage("msg_1", True, {"a": "b"}))) == ["message.modified"]
    assert types_of(story.do(DeleteMessage("msg_1", "user"))) == ["message.deleted"]


def test_messages_that_are_not_there() -> None:
    story = given(CREATE)
    for command in (ModifyMessage("msg_9", False, {}), DeleteMessage("msg_9", None)):
        with pytest.raises(NotFound, match="No message found with id 'msg_9'"):
            story.do(command)


def test_a_run_needs_a_user_message_or_instructions() -> None:
    story = given(CREATE, add(role="assistant"))
    with pytest.raises(Rejection, match="Run creation requires a Thread with a user message") as refused:
        story.do(run(instructions=None))
    assert refused.value.code == "invalid_thread"
    story.do(run(instructions=None, messages=(message(),)))
    assert story.run.status == "queued"


def test_deleting_the_last_user_message_counts() -> None:
    story = given(CREATE, add(), DeleteMessage("msg_user", "user"))
    with pytest.raises(Rejection):
        story.do(run(instructions=None))


def test_a_run_can_bring_its_thread_and_messages_in_one_append() -> None:
    story = Story()
    thread = CreateThread({}, {}, (message("one", "msg_1"),))
    events = story.do(CreateRun("run_1", SETTINGS, (message("two", "msg_2"),), LIFETIME, claim(), thread))
    assert types_of(events) == [
        "thread.created",
        "message.added",
        "message.added",
        "run.created",
        "run.claimed",
        "run.started",
        "model_call.started",
    ]


def test_nothing_is_made_twice() -> None:
    story = completed_run()
    twice = CreateRun("run_2", SETTINGS, (), LIFETIME, None, CreateThread({}, {}, ()))
    for command in (CreateThread({}, {}, ()), twice):
        with pytest.raises(Rejection, match="already exists"):
            story.do(command)


def test_a_refused_run_leaves_nothing() -> None:
    story = working_run()
    before = (story.state, len(story.log))
    with pytest.raises(Rejection):
        story.do(run("run_2", messages=(message(),)))
    assert (story.state, len(story.log)) == before


@pytest.mark.parametrize(
    ("status", "events"),
    [
        ("queued", ["run.cancelling", "run.cancelled", "thread.deleted"]),
        ("in_progress", ["run.cancelling", "model_call.stopped", "run.cancelled", "thread.deleted"]),
        ("requires_action", ["run.cancelling", "step.ended", "run.cancelled", "thread.deleted"]),
        ("cancelling", ["model_call.stopped", "run.cancelled", "thread.deleted"]),
    ],
)
def test_deleting_a_thread_ends_its_run_first(status: str, events: list[str]) -> None:
    story = LOCKED[status]()
    assert types_of(story.do(DeleteThread())) == events
    assert not story.state.exists
    assert story.state.run is None


@pytest.mark.parametrize(
    "command", [start(), finish("x"), break_call(), fail(), stop()], ids=lambda c: type(c).__name__
)
def test_an_executor_of_a_deleted_thread_is_told_to_stop(command: ThreadCommand) -> None:
    story = working_run()
    story.do(DeleteThread())
    with pytest.raises(DomainError):
        story.do(command)
    assert story.do(expire(), after=LIFETIME) == []
    assert story.do(take()) == []


def test_a_deleted_thread_forgets_how_many_messages_it_had() -> None:
    story = given(CREATE, add(), DeleteThread())
    assert story.state.user_messages == 0
    assert isinstance(story.log[-1].event, e.ThreadDeleted)
