"""Two orders of candidates into one: laws."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.search.fusion import CANDIDATES, Candidate, fuse, rank

measures = st.tuples(st.none() | st.floats(-1, 1), st.floats(0, 1))
some = st.lists(measures, max_size=80).map(
    lambda found: [Candidate("vs", "file", 1, at, likeness, share) for at, (likeness, share) in enumerate(found)]
)


@given(some, st.randoms())
def test_the_order_given_does_not_matter(found: list[Candidate], random: object) -> None:
    mixed = list(found)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert fuse(mixed) == fuse(found)


@given(some)
def test_scores_are_shares_best_first(found: list[Candidate]) -> None:
    for made in (fuse(found), rank(fuse(found))):
        scores = [one.score for one in made]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert len(made) <= CANDIDATES


@given(some)
def test_ranking_drops_and_adds_nothing(found: list[Candidate]) -> None:
    fused = fuse(found)
    assert {one.candidate for one in rank(fused)} == {one.candidate for one in fused}


@given(some)
def test_what_is_better_by_both_measures_is_before(found: list[Candidate]) -> None:
    order = [one.candidate for one in fuse(found)]
    for before, after in pairwise(order):
        if before.likeness is not None and after.likeness is not None:
            assert not (after.likeness > before.likeness and after.found > before.found)


def test_what_neither_measure_found_is_left_out() -> None:
    assert fuse([Candidate("vs", "file", 1, 0, None, 0.0)]) == []
