"""The stream of a session of the console: begun by a person who signed in, and ended by that person.

A session that came from a link has an id that follows from the link, so a link begins one session at most. A session
also ends at its time of expiry and with its API key; neither is an event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from events.envelope import Event, RecordedEvent
from events.errors import NotFound, Rejection

STATE_SCHEMA = 1

SignInMethod = Literal["key", "link"]


class SessionCreated(Event):
    """A person signed in to the console with an API key or with a link that a start printed. The key is the event's
    actor. `expires_at` is in Unix seconds.
    """

    type: Literal["session.created"] = "session.created"
    method: SignInMethod
    expires_at: int


class SessionEnded(Event):
    """The person signed out."""

    type: Literal["session.ended"] = "session.ended"


SessionEvent = SessionCreated | SessionEnded


@dataclass(frozen=True, slots=True)
class SessionState:
    id: str
    is_created: bool = False
    is_ended: bool = False


@dataclass(frozen=True, slots=True)
class CreateSession:
    method: SignInMethod
    expires_at: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """Changes nothing if the session has ended."""


SessionCommand = CreateSession | EndSession


def decide(state: SessionState, command: SessionCommand, at: datetime) -> list[SessionEvent]:
    """Returns the events of a command. Raises Rejection if the link was used, and NotFound."""
    match command:
        case CreateSession(method=method, expires_at=expires_at):
            if state.is_created:
                raise Rejection("This sign-in link was used already. It works once.", code="link_used")
            return [SessionCreated(method=method, expires_at=expires_at)]
        case EndSession():
            if not state.is_created:
                raise NotFound("session", state.id)
            return [] if state.is_ended else [SessionEnded()]
        case _:
            assert_never(command)


def evolve(state: SessionState, recorded: RecordedEvent[SessionEvent]) -> SessionState:
    match recorded.event:
        case SessionCreated():
            return replace(state, is_created=True)
        case SessionEnded():
            return replace(state, is_ended=True)
        case _:
            assert_never(recorded.event)
