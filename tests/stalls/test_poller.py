"""The time that other programs took is not the server's, and the work of the server's threads is."""

from __future__ import annotations

import pytest

from tests.stalls.poller import Times, _held_s


@pytest.mark.parametrize(
    ("elapsed", "poller", "server", "held"),
    [
        (0.1, [], [], 0.1),
        (0.1, [Times(0.01, 0.02)], [Times(0.01, 0.03)], 0.05),
        (0.1, [], [Times(0.0, 0.0), Times(0.03, 0.06)], 0.04),
        (0.1, [], [Times(0.08, 0.0), Times(0.0, 0.1)], 0.08),
        (0.1, [], [Times(0.08, 0.0), Times(0.1, 0.1)], 0.1),
        (0.1, [], [Times(0.0, 0.0)], 0.1),
    ],
)
def test_the_time_for_which_a_server_holds_an_answer(
    elapsed: float, poller: list[Times], server: list[Times], held: float
) -> None:
    numbered = [dict(enumerate(times, start=7)) for times in (poller, server)]
    assert _held_s(elapsed, *numbered) == pytest.approx(held)
