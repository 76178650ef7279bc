"""The stream of an API key: created, modified, revoked.

The log holds the sha256 of a key, never the key. A key has 256 random bits, so it cannot be found by trying keys. A
slow hash protects passwords that people think up; here it would only make each request slower.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from events.envelope import Event, RecordedEvent
from events.errors import NotFound, Rejection

STATE_SCHEMA = 1

# "full": all operations. "read": those that change nothing, without the audit. "audit": the audit, without contents.
# "audit:content": the audit with contents, and whatever "read" reads. "admin": all operations, and the usage and
# costs of all projects; it manages projects and keys.
Scope = Literal["full", "read", "audit", "audit:content", "admin"]
# The scopes of people who check others. Their reads are events themselves.
AUDIT_SCOPES: tuple[Scope, ...] = ("audit", "audit:content")


class KeyCreated(Event):
    """`hash` is the sha256 of the key in hexadecimal, `ending` its last characters, which people recognise it by.

    A limit that is null does not apply. The key's project is that of the event.
    """

    type: Literal["key.created"] = "key.created"
    name: str
    scope: Scope
    hash: str
    ending: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_runs: int | None


class KeyModified(Event):
    """The name and the limits after the change."""

    type: Literal["key.modified"] = "key.modified"
    name: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_runs: int | None


class KeyRevoked(Event):
    type: Literal["key.revoked"] = "key.revoked"


KeyEvent = KeyCreated | KeyModified | KeyRevoked


@dataclass(frozen=True, slots=True)
class KeyState:
    id: str
    exists: bool = False
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class CreateKey:
    name: str
    scope: Scope
    hash: str
    ending: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_runs: int | None = None


@dataclass(frozen=True, slots=True)
class ModifyKey:
    """Sets the name and the limits; a limit that is None does not apply."""

    name: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_runs: int | None = None


@dataclass(frozen=True, slots=True)
class RevokeKey:
    pass


KeyCommand = CreateKey | ModifyKey | RevokeKey


def decide(state: KeyState, command: KeyCommand, at: datetime) -> list[KeyEvent]:
    """Returns the events of a command; none if the key is revoked already.

    Raises NotFound if the key does not exist, and Rejection if a key with this id exists already, or if a key that is
    revoked is to be modified.
    """
    match command:
        case CreateKey():
            if state.exists:
                raise Rejection(f"Key {state.id} already exists.")
            return [
                KeyCreated(
                    name=command.name,
                    scope=command.scope,
                    hash=command.hash,
                    ending=command.ending,
                    requests_per_minute=command.requests_per_minute,
                    tokens_per_minute=command.tokens_per_minute,
                    max_runs=command.max_runs,
                )
            ]
        case ModifyKey():
            if not state.exists:
                raise NotFound("key", state.id)
            if state.revoked:
                raise Rejection(f"Key {state.id} is revoked.")
            return [
                KeyModified(
                    name=command.name,
                    requests_per_minute=command.requests_per_minute,
                    tokens_per_minute=command.tokens_per_minute,
                    max_runs=command.max_runs,
                )
            ]
        case RevokeKey():
            if not state.exists:
                raise NotFound("key", state.id)
            return [] if state.revoked else [KeyRevoked()]
        case _:
            assert_never(command)


def evolve(state: KeyState, recorded: RecordedEvent[KeyEvent]) -> KeyState:
    match recorded.event:
        case KeyCreated():
            return replace(state, exists=True)
        case KeyModified():
            return state
        case KeyRevoked():
            return replace(state, revoked=True)
        case _:
            assert_never(recorded.event)
