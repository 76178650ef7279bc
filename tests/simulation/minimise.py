"""Makes a failing scenario smaller: leaves out faults, commands and processes as long as the same law is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.simulation.scenario import Scenario

P = TypeVar("P")

# Simulations that one minimisation may run.
MAX_TRIES = 300


def minimise(scenario: Scenario, is_failing: Callable[[Scenario], bool]) -> Scenario:
    """Returns a scenario of which no part can be left out, or the smallest one that was found within MAX_TRIES."""
    tries = 0
    has_changed = True
    while has_changed:
        has_changed = False
        for smaller in _smaller(scenario):
            tries += 1
            if tries > MAX_TRIES:
                return scenario
            if is_failing(smaller):
                scenario, has_changed = smaller, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yields the scenarios with one part less."""
    for number in range(len(scenario.faults)):
        yield replace(scenario, faults=_without(scenario.faults, number))
    for number in reversed(range(len(scenario.commands))):
        yield replace(scenario, commands=_without(scenario.commands, number))
    for number in range(len(scenario.watched)):
        yield replace(scenario, watched=_without(scenario.watched, number))
    if scenario.has_webhooks:
        yield replace(scenario, has_webhooks=False)
    if scenario.processes > 1:
        yield replace(scenario, processes=scenario.processes - 1)
    for number, command in enumerate(scenario.commands):
        if command.replies:
            fewer = replace(command, replies=command.replies[:-1])
            yield replace(scenario, commands=(*scenario.commands[:number], fewer, *scenario.commands[number + 1 :]))


def _without(parts: tuple[P, ...], number: int) -> tuple[P, ...]:
    return (*parts[:number], *parts[number + 1 :])
