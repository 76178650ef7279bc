"""Collections of garbage begin again when the last pause ends."""

from __future__ import annotations

import gc

import pytest

from service.tasks.garbage import pause_collections


def test_pauses_may_overlap() -> None:
    first, second = pause_collections(), pause_collections()
    first.__enter__()
    second.__enter__()
    assert not gc.isenabled()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_an_error_ends_a_pause() -> None:
    with pytest.raises(ValueError, match="x"), pause_collections():
        raise ValueError("x")
    assert gc.isenabled()
