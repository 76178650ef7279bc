"""The decider of the installation."""

from __future__ import annotations

from events import installation
from events.event_log import number_events
from events.installation import (
    BeginEpoch,
    CreateInstallation,
    InstallationCommand,
    InstallationState,
    RecordStart,
    UseLogKey,
)
from tests.events.thread.story import ORIGIN, T0, types_of

CREATE = CreateInstallation("inst_1")


def after(*commands: InstallationCommand) -> InstallationState:
    state = InstallationState("installation")
    for command in commands:
        for entry in number_events("installation", 0, installation.decide(state, command, T0), T0, ORIGIN):
            state = installation.evolve(state, entry)
    return state


def test_the_first_start_creates_it_and_begins_an_epoch() -> None:
    assert types_of(installation.decide(after(), CREATE, T0)) == ["installation.created", "epoch.begun"]
    assert after(CREATE) == InstallationState("installation", "inst_1", 1, None)
    assert installation.decide(after(CREATE), CreateInstallation("inst_2"), T0) == []
    assert types_of(installation.decide(after(CREATE), RecordStart({}), T0)) == ["server.started"]


def test_a_restore_begins_the_next_epoch() -> None:
    state = after(CREATE, BeginEpoch(2, "everthread/inst_1/1", "checkpoint", "The disk failed."))
    assert state.epoch == 2


def test_a_change_of_the_log_key_is_recorded_once() -> None:
    assert types_of(installation.decide(after(CREATE), UseLogKey("one"), T0)) == ["log_key.used"]
    assert installation.decide(after(CREATE, UseLogKey("one")), UseLogKey("one"), T0) == []
    assert after(CREATE, UseLogKey("one"), UseLogKey("two")).verifier_key == "two"
