"""How much memory the embedded Postgres may keep pages in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.embedded.memory import LEAST, MIB, MOST, SHARE, buffers


@given(st.integers(0, 1 << 45))
def test_buffers_are_a_share_of_the_memory_within_bounds(total: int) -> None:
    made = buffers(total)
    assert LEAST <= made <= MOST
    assert made == LEAST or made * SHARE * MIB <= total


def test_this_machine_has_some() -> None:
    assert LEAST <= buffers() <= MOST
