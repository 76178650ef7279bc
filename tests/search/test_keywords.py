"""The laws of weighing a query's words and choosing those to look up."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from service.search.keywords import LOOKUP_BUDGET, MAX_WORD_CHUNKS, MAX_WORDS, weigh_words

STORE = "vs_a"
count_lists = st.lists(st.integers(1, 20_000), max_size=MAX_WORDS).map(sorted)


def with_names(counts: list[int]) -> list[tuple[list[str], int]]:
    return [([f"w{at}"], count) for at, count in enumerate(counts)]


@given(count_lists, st.integers(0, 5))
def test_weights_are_shares_and_rarer_words_weigh_no_less(counts: list[int], unknown: int) -> None:
    words = weigh_words([STORE], with_names(counts), 20_000, unknown).words
    weights = [word.weight for word in words]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) <= 1 + 1e-9
    if counts and not unknown and counts[0] < 20_000:
        assert math.isclose(sum(weights), 1)


@given(count_lists)
def test_looked_up_words_are_in_few_chunks(counts: list[int]) -> None:
    lookups = weigh_words([STORE], with_names(counts), 20_000).lookups
    if counts and counts[0] <= LOOKUP_BUDGET:
        assert sum(counts[: len(lookups)]) <= LOOKUP_BUDGET
        assert [each.query for each in lookups] == [f"('{STORE}') & 'w{at}'" for at in range(len(lookups))]
    else:
        assert len(lookups) == (1 if counts and counts[0] <= MAX_WORD_CHUNKS else 0)


def test_as_many_words_are_looked_up_as_fit_the_budget() -> None:
    lookups = weigh_words([STORE, "vs_b"], [(["a"], 400), (["b"], 600), (["c"], 601)], 10_000).lookups
    assert [each.query for each in lookups] == ["('vs_a' | 'vs_b') & 'a'", "('vs_a' | 'vs_b') & 'b'"]


def test_the_two_rarest_words_are_combined_if_neither_fits() -> None:
    words = weigh_words(
        [STORE], [(["a"], LOOKUP_BUDGET + 1), (["b"], MAX_WORD_CHUNKS), (["c"], MAX_WORD_CHUNKS)], 10_000
    )
    assert [each.query for each in words.lookups] == [f"('{STORE}') & 'a' & 'b'"]
    assert words.lookups[0].weight == words.words[0].weight + words.words[1].weight


def test_a_single_word_that_exceeds_the_budget() -> None:
    assert [each.query for each in weigh_words([STORE], [(["a"], MAX_WORD_CHUNKS)], 10_000).lookups] == [
        f"('{STORE}') & 'a'"
    ]
    assert weigh_words([STORE], [(["a"], MAX_WORD_CHUNKS + 1)], 10_000).lookups == []


def test_quotes_and_backslashes_are_escaped() -> None:
    assert weigh_words([STORE], [(["o'n\\e"], 1)], 10).words[0].query == "'o''n\\\\e'"


def test_the_stems_of_a_word_are_looked_up_together_and_measured_apart() -> None:
    words = weigh_words([STORE], [(["vill", "ville"], 3), (["mer"], 5)], 100)
    assert [each.query for each in words.lookups] == [f"('{STORE}') & ('vill' | 'ville')", f"('{STORE}') & 'mer'"]
    assert [each.stems for each in words.words] == [["'vill'", "'ville'"], ["'mer'"]]
