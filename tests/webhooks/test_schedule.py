"""The pauses between attempts, and the conditions to disable an endpoint."""

from __future__ import annotations

from random import Random

from service.webhooks import schedule


def test_pauses_grow_and_end() -> None:
    random = Random(1)
    found: list[float] = []
    failed = 1
    while (pause := schedule.pause(failed, random)) is not None:
        found.append(pause)
        failed += 1
    assert len(found) == len(schedule.PAUSES)
    assert found == sorted(found)
    assert 0.8 * 86_400 <= sum(found) <= 2 * 86_400, "a night and a day"


def test_pauses_differ() -> None:
    random = Random(1)
    same = [schedule.pause(3, random) or 0.0 for _ in range(200)]
    middle = schedule.PAUSES[2]
    assert min(same) >= middle * 0.8
    assert max(same) <= middle * 1.2
    assert len(set(same)) > 150


def test_an_endpoint_is_disabled_only_after_a_long_failure() -> None:
    assert not schedule.is_hopeless(10_000, schedule.PATIENCE - 1)
    assert not schedule.is_hopeless(schedule.MIN_FAILURES - 1, 10 * schedule.PATIENCE)
    assert schedule.is_hopeless(schedule.MIN_FAILURES, schedule.PATIENCE)
