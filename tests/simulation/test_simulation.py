"""The simulation: seeds under all laws, the same history for the same seed, and bugs that it must find.

Each test simulates in a program of its own, since a simulation replaces the clock and the randomness of its program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.laws import LAWS
from tests.simulation.minimise import minimise
from tests.simulation.planted import PLANTED
from tests.simulation.scenario import Fault, Scenario, draw

ROOT = Path(__file__).parents[2]
# Seeds of a whole run of the tests on CI, and of one elsewhere; and seeds of one program.
SEEDS_ON_CI = 10_000
SEEDS = 250
SEEDS_A_PROGRAM = 500
PLANTED_AT_LEAST = 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("first", range(0, SEEDS_ON_CI if "CI" in os.environ else SEEDS, SEEDS_A_PROGRAM))
def test_no_seed_breaks_a_law(first: int) -> None:
    count = SEEDS_A_PROGRAM if "CI" in os.environ else SEEDS
    done = simulate("--first", str(first), "--count", str(count))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_has_one_history() -> None:
    first, second = (simulate("--first", "40", "--count", "25", "--digest").stdout.splitlines() for _ in range(2))
    assert len(first) == 26
    assert first[:25] == second[:25]


def test_planted_bugs_are_found() -> None:
    """A law that finds nothing proves nothing: each law finds a bug that no other law finds."""
    done = simulate("--planted")
    found = {each["bug"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {bug.name for bug in PLANTED}, done.stderr
    assert [name for name, each in found.items() if each["seed"] is None] == []
    assert len(found) >= PLANTED_AT_LEAST
    assert {bug.law for bug in PLANTED if bug.is_alone} == LAWS.keys()


def test_minimising_leaves_what_the_failure_needs() -> None:
    scenario = replace(draw(3), faults=(Fault(1.0, "cut", 0), Fault(1.0, "crash", 1), Fault(2.0, "freeze", 0, 1.0)))

    def is_failing(tried: Scenario) -> bool:
        return any(fault.kind == "crash" for fault in tried.faults) and tried.processes >= 2

    smallest = minimise(scenario, is_failing)
    assert [fault.kind for fault in smallest.faults] == ["crash"]
    assert smallest.commands == ()
    assert (smallest.processes, smallest.watched, smallest.has_webhooks) == (2, (), False)


def test_all_kinds_of_faults_and_commands_come_up() -> None:
    scenarios = [draw(seed) for seed in range(400)]
    faults = {fault.kind for scenario in scenarios for fault in scenario.faults}
    commands = {command.kind for scenario in scenarios for command in scenario.commands}
    assert len(faults) == 15
    assert len(commands) == 10
