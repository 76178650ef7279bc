"""The size of the buffers of the embedded Postgres."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.embedded.memory import MAX_MIB, MIB, MIN_MIB, SHARE, buffer_mib


@given(st.integers(0, 1 << 45))
def test_buffers_are_a_share_of_the_memory_within_bounds(total: int) -> None:
    made = buffer_mib(total)
    assert MIN_MIB <= made <= MAX_MIB
    assert made == MIN_MIB or made * SHARE * MIB <= total


def test_the_buffers_of_this_machine() -> None:
    assert MIN_MIB <= buffer_mib() <= MAX_MIB
