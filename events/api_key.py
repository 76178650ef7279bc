"""The API key stream: created, revoked. A small decider, whole in one file.

The log never sees a key, only the sha256 of it. A key is 256 random bits, so nobody finds it by trying keys, whatever
the hash: slow hashes protect what people think up, and would only make every request slow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from events.envelope import Event, RecordedEvent
from events.errors import NotFound, Rejection

STATE_SCHEMA = 1

Scope = Literal["full", "read", "audit"]


class KeyCreated(Event):
    """`hash` is the sha256 of the key in hex, `ending` its last characters, for people. A limit that is null is none.

    Its project is the event's own.
    """

    type: Literal["key.created"] = "key.created"
    name: str
    scope: Scope
    hash: str
    ending: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_runs: int | None


class KeyRevoked(Event):
    type: Literal["key.revoked"] = "key.revoked"


KeyEvent = KeyCreated | KeyRevoked


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
class RevokeKey:
    pass


KeyCommand = CreateKey | RevokeKey


def decide(state: KeyState, command: KeyCommand, at: datetime) -> list[KeyEvent]:
    """Raises NotFound where there is no such key, Rejection where it would be made twice. Revoking twice is fine."""
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
        case KeyRevoked():
            return replace(state, revoked=True)
        case _:
            assert_never(recorded.event)
