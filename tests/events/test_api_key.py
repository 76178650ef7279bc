"""The deciders of API keys and of projects."""

from __future__ import annotations

import pytest

from events import api_key, project
from events.api_key import CreateKey, KeyCommand, KeyState, RevokeKey
from events.errors import NotFound, Rejection
from events.event_log import number_events
from events.project import CreateProject, ProjectState
from tests.events.thread.story import ORIGIN, T0, types_of

CREATE = CreateKey("ci", "read", "ab" * 32, "wxyz", max_runs=2)


def after(*commands: KeyCommand) -> KeyState:
    state = KeyState("key_1")
    for version, command in enumerate(commands):
        for entry in number_events("key_1", version, api_key.decide(state, command, T0), T0, ORIGIN):
            state = api_key.evolve(state, entry)
    return state


def test_the_life_of_a_key() -> None:
    [made] = api_key.decide(after(), CREATE, T0)
    assert made.model_dump(exclude={"type"}) == {
        "name": "ci",
        "scope": "read",
        "hash": "ab" * 32,
        "ending": "wxyz",
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "max_runs": 2,
    }
    assert types_of(api_key.decide(after(CREATE), RevokeKey(), T0)) == ["key.revoked"]
    assert api_key.decide(after(CREATE, RevokeKey()), RevokeKey(), T0) == []
    assert after(CREATE, RevokeKey()).revoked


def test_what_is_refused() -> None:
    with pytest.raises(NotFound, match="No key found with id 'key_1'"):
        api_key.decide(after(), RevokeKey(), T0)
    for before in ((CREATE,), (CREATE, RevokeKey())):
        with pytest.raises(Rejection, match="already exists"):
            api_key.decide(after(*before), CREATE, T0)


def test_a_project_is_made_once() -> None:
    state = ProjectState("proj_1")
    made = project.decide(state, CreateProject("Research"), T0)
    assert types_of(made) == ["project.created"]
    for entry in number_events("proj_1", 0, made, T0, ORIGIN):
        state = project.evolve(state, entry)
    with pytest.raises(Rejection, match="already exists"):
        project.decide(state, CreateProject("Research"), T0)
