"""Actors: who appended an event. The text in the column `events.actor` is written and read here, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never


@dataclass(frozen=True, slots=True)
class KeyActor:
    """A request with an API key; `key_id` is the key's id, not the key."""

    key_id: str


@dataclass(frozen=True, slots=True)
class TokenActor:
    """A request with a token or a link that the key `key_id` made."""

    key_id: str


@dataclass(frozen=True, slots=True)
class ProcessActor:
    """A process of the server that works on runs, indexing or webhooks; `process` is its number among its peers."""

    process: int


@dataclass(frozen=True, slots=True)
class SweepActor:
    """The periodic sweep of a server, which expires objects and removes the leftovers of crashes."""


@dataclass(frozen=True, slots=True)
class CommandLineActor:
    """A person at the command line `everthread`; `account` is `user@host`, or empty if an older version wrote it."""

    account: str = ""


@dataclass(frozen=True, slots=True)
class RunActor:
    """A run whose file search counts as a use of a vector store."""


@dataclass(frozen=True, slots=True)
class ToolActor:
    """A hosted tool that stores files; `tool` is its type, for example `code_interpreter`."""

    tool: str


@dataclass(frozen=True, slots=True)
class UnknownActor:
    """An actor that this software does not know, for example one of newer software. `text` is the stored text."""

    text: str


Actor = KeyActor | TokenActor | ProcessActor | SweepActor | CommandLineActor | RunActor | ToolActor | UnknownActor

_SWEEP = "process:sweep"
_COMMAND_LINE = "cli"
_RUN = "run"


def actor_text(actor: Actor) -> str:
    """Returns the text that is stored for an actor."""
    match actor:
        case KeyActor(key_id=key_id):
            return f"key:{key_id}"
        case TokenActor(key_id=key_id):
            return f"token:{key_id}"
        case ProcessActor(process=process):
            return f"process:{process}"
        case SweepActor():
            return _SWEEP
        case CommandLineActor(account=account):
            return f"{_COMMAND_LINE}:{account}" if account else _COMMAND_LINE
        case RunActor():
            return _RUN
        case ToolActor(tool=tool):
            return f"tool:{tool}"
        case UnknownActor(text=text):
            return text
        case _:
            assert_never(actor)


@lru_cache(maxsize=1024)  # a thread's events have few actors
def parse_actor(text: str) -> Actor:
    """Returns the actor of a stored text; `actor_text` returns the same text for it again."""
    prefix, _, rest = text.partition(":")
    match prefix:
        case "key" if rest:
            return KeyActor(rest)
        case "token" if rest:
            return TokenActor(rest)
        case "cli" if rest:
            return CommandLineActor(rest)
        case "tool" if rest:
            return ToolActor(rest)
        case "process" if rest.isascii() and rest.isdigit() and str(int(rest)) == rest:
            return ProcessActor(int(rest))
        case _:
            return _FIXED.get(text) or UnknownActor(text)


_FIXED: dict[str, Actor] = {_SWEEP: SweepActor(), _COMMAND_LINE: CommandLineActor(), _RUN: RunActor()}
