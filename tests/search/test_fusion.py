"""The laws of fusing two orders of candidates."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.fusion import CANDIDATES, Candidate, fuse, rank

measures = st.tuples(st.none() | st.floats(-1, 1), st.floats(0, 1))
candidate_lists = st.lists(measures, max_size=80).map(
    lambda pairs: [Candidate("vs", "file", 1, at, similarity, share) for at, (similarity, share) in enumerate(pairs)]
)


@pytest.mark.slow
@given(candidate_lists, st.randoms())
def test_the_order_of_the_input_does_not_matter(candidates: list[Candidate], random: object) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fuse(shuffled) == fuse(candidates)


@pytest.mark.slow
@given(candidate_lists)
def test_scores_are_shares_best_first(candidates: list[Candidate]) -> None:
    for ranked in (fuse(candidates), rank(fuse(candidates))):
        scores = [each.score for each in ranked]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert len(ranked) <= CANDIDATES


@given(candidate_lists)
def test_ranking_drops_and_adds_nothing(candidates: list[Candidate]) -> None:
    fused = fuse(candidates)
    assert {each.candidate for each in rank(fused)} == {each.candidate for each in fused}


@pytest.mark.slow
@given(candidate_lists)
def test_a_candidate_that_is_better_by_both_measures_comes_first(candidates: list[Candidate]) -> None:
    order = [each.candidate for each in fuse(candidates)]
    for before, after in pairwise(order):
        if before.similarity is not None and after.similarity is not None:
            assert not (after.similarity > before.similarity and after.word_share > before.word_share)


def test_a_candidate_without_any_measure_is_left_out() -> None:
    assert fuse([Candidate("vs", "file", 1, 0, None, 0.0)]) == []
