"""The assistant's decider."""

from __future__ import annotations

import pytest

from events.assistant import (
    AssistantCommand,
    AssistantState,
    CreateAssistant,
    DeleteAssistant,
    ModifyAssistant,
    decide,
    evolve,
)
from events.errors import NotFound, Rejection
from events.event_log import number_events
from tests.events.thread.story import ORIGIN, T0, types_of

SETTINGS = {"model": "gpt-test", "name": "Tutor"}


def after(*commands: AssistantCommand) -> AssistantState:
    state = AssistantState("asst_1")
    for version, command in enumerate(commands):
        for entry in number_events("asst_1", version, decide(state, command, T0), T0, ORIGIN):
            state = evolve(state, entry)
    return state


def test_the_life_of_an_assistant() -> None:
    assert types_of(decide(after(), CreateAssistant(SETTINGS), T0)) == ["assistant.created"]
    alive = after(CreateAssistant(SETTINGS), ModifyAssistant({"name": None}))
    assert alive.exists
    assert types_of(decide(alive, ModifyAssistant({"name": "x"}), T0)) == ["assistant.modified"]
    assert types_of(decide(alive, DeleteAssistant(), T0)) == ["assistant.deleted"]
    assert not after(CreateAssistant(SETTINGS), DeleteAssistant()).exists
    with pytest.raises(Rejection, match="already exists"):
        decide(alive, CreateAssistant(SETTINGS), T0)


@pytest.mark.parametrize("command", [ModifyAssistant({}), DeleteAssistant()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("before", [(), (CreateAssistant(SETTINGS), DeleteAssistant())], ids=["never", "deleted"])
def test_what_is_not_there_is_refused(before: tuple[AssistantCommand, ...], command: AssistantCommand) -> None:
    with pytest.raises(NotFound, match="No assistant found with id 'asst_1'"):
        decide(after(*before), command, T0)
