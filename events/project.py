"""The stream of a project: created, renamed.

The project_id of its stream is the project's own id. The default project exists without a stream.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from events.envelope import Event, RecordedEvent
from events.errors import NotFound, Rejection

STATE_SCHEMA = 1

DEFAULT_PROJECT = "proj_default"


class ProjectCreated(Event):
    type: Literal["project.created"] = "project.created"
    name: str


class ProjectRenamed(Event):
    type: Literal["project.renamed"] = "project.renamed"
    name: str


ProjectEvent = ProjectCreated | ProjectRenamed


@dataclass(frozen=True, slots=True)
class ProjectState:
    id: str
    exists: bool = False


@dataclass(frozen=True, slots=True)
class CreateProject:
    name: str


@dataclass(frozen=True, slots=True)
class RenameProject:
    name: str


ProjectCommand = CreateProject | RenameProject


def decide(state: ProjectState, command: ProjectCommand, at: datetime) -> list[ProjectEvent]:
    """Raises Rejection if a project with this id exists already, and NotFound if one to rename does not exist."""
    match command:
        case CreateProject(name=name):
            if state.exists:
                raise Rejection(f"Project {state.id} already exists.")
            return [ProjectCreated(name=name)]
        case RenameProject(name=name):
            if not state.exists:
                raise NotFound("project", state.id)
            return [ProjectRenamed(name=name)]
        case _:
            assert_never(command)


def evolve(state: ProjectState, recorded: RecordedEvent[ProjectEvent]) -> ProjectState:
    match recorded.event:
        case ProjectCreated():
            return replace(state, exists=True)
        case ProjectRenamed():
            return state
        case _:
            assert_never(recorded.event)
