"""The command of the simulation: `scripts/simulate --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from hashlib import sha256

from tests.simulation.laws import Violation, find_violations
from tests.simulation.minimise import minimise
from tests.simulation.planted import PLANTED
from tests.simulation.scenario import Scenario, draw
from tests.simulation.world import BEGAN, History, prepared, simulate

# Seeds within which each planted bug must be found.
MAX_SEEDS = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description="Simulates processes under faults.")
    parser.add_argument("--seed", type=int, help="simulate this seed, and print its history")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--minimise", type=int, metavar="SEED", help="print the smallest scenario that fails as this one"
    )
    parser.add_argument("--planted", metavar="NAME", nargs="*", help="plant these bugs, or all, and find them")
    parser.add_argument("--digest", action="store_true", help="print a hash of the events of each seed")
    parser.add_argument("--count", type=int, default=200, help="the number of seeds")
    given = parser.parse_args()
    if given.planted is not None:
        return find_planted_bugs(given.planted)
    if given.minimise is not None:
        return print_smallest(given.minimise)
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.count)
    failures, began = 0, time.process_time()
    with prepared():
        for seed in seeds:
            history = simulate(draw(seed))
            violations = find_violations(history)
            if given.seed is not None:
                describe(history)
            if given.digest:
                print(seed, digest(history))
            if violations:
                failures += 1
                report(seed, violations)
    seconds = time.process_time() - began
    print(f"{len(seeds)} seeds, {failures} failures, {1000 * seconds / len(seeds):.1f} ms a seed")
    return 1 if failures else 0


def broken_laws(scenario: Scenario) -> set[str]:
    """Returns the laws that a scenario breaks."""
    return {violation.law for violation in find_violations(simulate(scenario))}


def print_smallest(seed: int) -> int:
    """Prints the smallest scenario that breaks a law which the seed breaks, with its history."""
    with prepared():
        laws = broken_laws(draw(seed))
        if not laws:
            print(f"seed {seed} breaks no law")
            return 0
        law = min(laws)
        smallest = minimise(draw(seed), lambda scenario: law in broken_laws(scenario))
        history = simulate(smallest)
        describe(history)
        report(seed, find_violations(history))
    return 1


def find_planted_bugs(names: Sequence[str]) -> int:
    """Plants each bug until its law finds it. Prints the seed and the laws of each as a line of JSON."""
    status = 0
    with prepared():
        for bug in (bug for bug in PLANTED if not names or bug.name in names):
            laws: list[str] = []
            seed, is_found = -1, False
            with bug.planted():
                for seed in range(MAX_SEEDS):
                    laws = sorted(broken_laws(draw(seed)))
                    is_found = laws == [bug.law] if bug.is_alone else bug.law in laws
                    if is_found:
                        break
            status |= not is_found
            print(json.dumps({"bug": bug.name, "seed": seed if is_found else None, "laws": laws}), flush=True)
    return status


def describe(history: History) -> None:
    """Prints a history: its commands and faults, its requests, and its events."""
    for part in (*history.scenario.commands, *history.scenario.faults):
        print(part)
    for request in history.requests:
        print(request.command.number, request.name, request.refusal or request.answers[:1])
    for id, stream in history.store.streams.items():
        for row in stream.events:
            at = (row["at"] - BEGAN).total_seconds()
            print(f"{at:9.3f} {id[:12]} {row['version']:3} {row['actor']:24} {row['type']}")
    print(f"{history.seconds:.3f} s, {history.callbacks} callbacks")


def digest(history: History) -> str:
    """Returns a hash of all events, which includes their times and their ids."""
    leaves = [row["leaf"] for stream in history.store.streams.values() for row in stream.events]
    return sha256(b"".join(leaves) + str(history.callbacks).encode()).hexdigest()


def report(seed: int, violations: list[Violation]) -> None:
    print(f"seed {seed}: replay it with scripts/simulate --seed {seed}", flush=True)
    for violation in violations[:8]:
        print(f"  {violation.law}: {violation.text[:1500]}")


if __name__ == "__main__":
    # The coroutines of processes that died are never finished, so their ends are errors that mean nothing.
    sys.unraisablehook = lambda unraisable: None
    status = main()
    sys.stdout.flush()
    os._exit(status)
