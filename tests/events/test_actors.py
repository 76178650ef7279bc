from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.actors import (
    Actor,
    CommandLineActor,
    KeyActor,
    ProcessActor,
    RunActor,
    SweepActor,
    TokenActor,
    ToolActor,
    UnknownActor,
    actor_text,
    parse_actor,
)

# The texts are stored, so they never change.
TEXTS: dict[str, Actor] = {
    "key:default": KeyActor("default"),
    "key:key_Ab1": KeyActor("key_Ab1"),
    "token:key_Ab1": TokenActor("key_Ab1"),
    "process:2147483647": ProcessActor(2**31 - 1),
    "process:sweep": SweepActor(),
    "cli": CommandLineActor(),
    "cli:anna@host-1": CommandLineActor("anna@host-1"),
    "run": RunActor(),
    "tool:code_interpreter": ToolActor("code_interpreter"),
    "somebody": UnknownActor("somebody"),
    "cli:": UnknownActor("cli:"),
    "key:": UnknownActor("key:"),
    "process:007": UnknownActor("process:007"),
}


@pytest.mark.parametrize(("text", "actor"), TEXTS.items())
def test_actors_are_stored_as_text(text: str, actor: Actor) -> None:
    assert parse_actor(text) == actor
    assert actor_text(actor) == text


@given(
    st.text()
    | st.sampled_from(["key", "token", "cli", "process", "tool"]).flatmap(lambda p: st.text().map(f"{p}:".__add__))
)
def test_no_text_changes_when_it_is_read_and_written(text: str) -> None:
    assert actor_text(parse_actor(text)) == text
