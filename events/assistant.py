"""The stream of an assistant: created, modified, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from pydantic import Field

from events.envelope import Event, JsonObject, RecordedEvent
from events.errors import NotFound, Rejection
from events.provenance import Provenance

STATE_SCHEMA = 1


class AssistantCreated(Event):
    """`settings` holds every field of the assistant except its id and times, in the superset of v1 and v2.

    `explicit_defaults` in it names the settings that the request set to their default value; absent if there are none.
    """

    type: Literal["assistant.created"] = "assistant.created"
    settings: JsonObject
    provenance: Provenance | None = Field(None, exclude_if=lambda provenance: provenance is None)


class AssistantModified(Event):
    """`changes` holds the fields that the request named. A null clears a field; lists and objects replace it.

    `explicit_defaults` in it names those of these fields that the request set to their default value. If the change
    restores an earlier version, `restored_from` is that version.
    """

    type: Literal["assistant.modified"] = "assistant.modified"
    changes: JsonObject
    restored_from: int | None = Field(None, exclude_if=lambda version: version is None)


class AssistantDeleted(Event):
    type: Literal["assistant.deleted"] = "assistant.deleted"


AssistantEvent = AssistantCreated | AssistantModified | AssistantDeleted


@dataclass(frozen=True, slots=True)
class AssistantState:
    id: str
    exists: bool = False


@dataclass(frozen=True, slots=True)
class CreateAssistant:
    settings: Mapping[str, Any]
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class ModifyAssistant:
    changes: Mapping[str, Any]
    restored_from: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteAssistant:
    pass


AssistantCommand = CreateAssistant | ModifyAssistant | DeleteAssistant


def decide(state: AssistantState, command: AssistantCommand, at: datetime) -> list[AssistantEvent]:
    """Raises NotFound if the assistant does not exist, and Rejection if one with this id exists already."""
    match command:
        case CreateAssistant():
            if state.exists:
                raise Rejection(f"Assistant {state.id} already exists.")
            return [AssistantCreated(settings=dict(command.settings), provenance=command.provenance)]
        case ModifyAssistant():
            _require(state)
            return [AssistantModified(changes=dict(command.changes), restored_from=command.restored_from)]
        case DeleteAssistant():
            _require(state)
            return [AssistantDeleted()]
        case _:
            assert_never(command)


def evolve(state: AssistantState, recorded: RecordedEvent[AssistantEvent]) -> AssistantState:
    match recorded.event:
        case AssistantCreated():
            return replace(state, exists=True)
        case AssistantModified():
            return state
        case AssistantDeleted():
            return replace(state, exists=False)
        case _:
            assert_never(recorded.event)


def _require(state: AssistantState) -> None:
    if not state.exists:
        raise NotFound("assistant", state.id)
