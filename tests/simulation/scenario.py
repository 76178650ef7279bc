"""Scenarios: the commands of clients and the faults of one simulation, drawn from its seed.

A scenario is data, so that a failing one can be made smaller (`minimise`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

CommandKind = Literal[
    "say", "queue_message", "run", "cancel", "submit", "delete_message", "modify", "delete_thread", "index", "remove"
]
FaultKind = Literal[
    "crash",  # of a process, at a time
    "crash_before_append",  # before its nth append from then on
    "crash_after_append",
    "lose_append",  # the connection breaks before the nth append from then on
    "lose_answer",  # … or after it
    "freeze",
    "slow",
    "cut",  # all connections of a process
    "stop",  # in order, as SIGTERM does
    "lose_wakeups",
    "double_wakeups",
    "clock",  # of a process jumps
    "database_restart",
    "database_freeze",
    "upgrade",  # newer software starts a process, and begins an epoch of views
]
# The replies of a model call: text, calls of functions, a hosted call, both, a stream that breaks, a slow one.
Reply = Literal["text", "functions", "code", "both", "broken", "refused", "slow"]

# Seconds in which the faults begin.
FAULTY_S = 2.0
REPLIES: tuple[Reply, ...] = ("text", "functions", "code", "both", "broken", "refused", "slow")
_REPLY_WEIGHTS = (6, 4, 4, 2, 2, 1, 3)
_FAULTS: dict[FaultKind, int] = {
    "crash": 4,
    "crash_before_append": 5,
    "crash_after_append": 5,
    "lose_append": 4,
    "lose_answer": 6,
    "freeze": 5,
    "slow": 2,
    "cut": 3,
    "stop": 2,
    "lose_wakeups": 5,
    "double_wakeups": 2,
    "clock": 2,
    "database_restart": 1,
    "database_freeze": 1,
    "upgrade": 1,
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a client, `after_s` seconds after the end of its last one.

    `number` is unique in the scenario. `replies` are those to the model calls of the run that it creates, which has
    `lifetime` seconds.
    """

    client: int
    number: int
    kind: CommandKind
    thread: int
    after_s: float
    replies: tuple[Reply, ...] = ()
    lifetime: int = 60
    queue: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a process, at a time in seconds, for some `seconds` or at the `count`th append."""

    at_s: float
    kind: FaultKind
    process: int
    seconds: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """The processes, clients and faults of a simulation. `watched` are the threads whose streams a client reads."""

    seed: int
    processes: int
    max_runs: int
    commands: tuple[Command, ...]
    faults: tuple[Fault, ...]
    watched: tuple[int, ...]
    has_webhooks: bool
    is_tool_repeatable: bool


def draw(seed: int) -> Scenario:
    """Returns the scenario of a seed."""
    random = Random(f"scenario {seed}")
    threads = random.choice((1, 1, 1, 2))
    processes = random.choice((2, 2, 2, 3))
    commands = [*_authors(random, threads), *_others(random, threads)]
    faults = [_fault(random, processes) for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4)))]
    return Scenario(
        seed=seed,
        processes=processes,
        max_runs=random.choice((1, 4, 4)),
        commands=tuple(commands),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        watched=tuple(thread for thread in range(threads) if random.random() < 0.6),
        has_webhooks=random.random() < 0.35,
        is_tool_repeatable=random.random() < 0.6,
    )


def _authors(random: Random, threads: int) -> list[Command]:
    """Returns the commands of a client for each thread, which talks and creates runs."""
    commands: list[Command] = []
    for thread in range(threads):
        queue = random.random() < 0.3
        for _ in range(random.choice((1, 1, 2, 2, 3))):
            commands.append(_command(random, thread, len(commands), "say", thread))
            replies = tuple(random.choices(REPLIES, _REPLY_WEIGHTS, k=random.choice((1, 1, 2, 3))))
            lifetime = random.choice((3, 8, 60, 60, 60))
            made = _command(random, thread, len(commands), "run", thread)
            commands.append(replace(made, replies=replies, lifetime=lifetime, queue=queue))
    return commands


def _others(random: Random, threads: int) -> list[Command]:
    """Returns the commands of a client that gets in the way of the others."""
    kinds: tuple[CommandKind, ...] = (
        "cancel",
        "cancel",
        "queue_message",
        "queue_message",
        "delete_message",
        "modify",
        "submit",
        "delete_thread" if random.random() < 0.15 else "modify",
    )
    commands = [
        _command(random, 10, 100 + number, random.choice(kinds), random.randrange(threads))
        for number in range(random.choice((0, 0, 1, 2, 3)))
    ]
    if random.random() < 0.3:
        # A run that waits for another one.
        waiting = _command(random, 12, 300, "run", random.randrange(threads))
        commands.append(replace(waiting, replies=("text",), queue=True))
    if random.random() < 0.3:
        commands.append(_command(random, 11, 200, "index", 0))
        if random.random() < 0.3:
            commands.append(_command(random, 11, 201, "remove", 0))
    return commands


def _command(random: Random, client: int, number: int, kind: CommandKind, thread: int) -> Command:
    return Command(client, number, kind, thread, round(random.random() ** 2 * 0.8, 3))


def _fault(random: Random, processes: int) -> Fault:
    kind = random.choices([*_FAULTS], [*_FAULTS.values()])[0]
    at_s, process = round(random.random() * FAULTY_S, 3), random.randrange(processes)
    match kind:
        case "freeze":
            return Fault(at_s, kind, process, seconds=random.choice((0.3, 1.9, 2.5, 4.0)))
        case "slow":
            return Fault(at_s, kind, process, seconds=random.choice((0.002, 0.01)))
        case "lose_wakeups" | "double_wakeups":
            return Fault(at_s, kind, process, seconds=random.choice((0.5, 3.0)))
        case "clock":
            return Fault(at_s, kind, process, seconds=random.choice((-3600.0, -5.0, 5.0, 90.0)))
        case "database_restart" | "database_freeze":
            return Fault(at_s, kind, process, seconds=random.choice((0.2, 1.0, 6.0)))
        case "crash_before_append" | "crash_after_append" | "lose_append" | "lose_answer":
            return Fault(at_s, kind, process, count=random.choice((1, 1, 2, 3, 5)))
        case _:
            return Fault(at_s, kind, process)
