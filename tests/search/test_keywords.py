"""Which words of a query are looked up: laws."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from service.search.keywords import BUDGET, COMMON, MAX_WORDS, choose

STORE = "vs_a"
counts = st.lists(st.integers(1, 20_000), max_size=MAX_WORDS).map(sorted)


def named(found: list[int]) -> list[tuple[str, int]]:
    return [(f"w{at}", count) for at, count in enumerate(found)]


@given(counts, st.integers(0, 5))
def test_weights_are_shares_and_rarer_words_weigh_no_less(found: list[int], unknown: int) -> None:
    words = choose([STORE], named(found), 20_000, unknown).words
    weights = [word.weight for word in words]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) <= 1 + 1e-9
    if found and not unknown and found[0] < 20_000:
        assert math.isclose(sum(weights), 1)


@given(counts)
def test_what_is_looked_up_is_in_few_chunks(found: list[int]) -> None:
    lookups = choose([STORE], named(found), 20_000).lookups
    if found and found[0] <= BUDGET:
        assert sum(found[: len(lookups)]) <= BUDGET
        assert [one.query for one in lookups] == [f"('{STORE}') & 'w{at}'" for at in range(len(lookups))]
    else:
        assert len(lookups) == (1 if found and found[0] <= COMMON else 0)


def test_as_many_are_looked_up_as_fit() -> None:
    lookups = choose([STORE, "vs_b"], [("a", 400), ("b", 600), ("c", 601)], 10_000).lookups
    assert [one.query for one in lookups] == ["('vs_a' | 'vs_b') & 'a'", "('vs_a' | 'vs_b') & 'b'"]


def test_the_two_rarest_together_where_neither_fits() -> None:
    chosen = choose([STORE], [("a", BUDGET + 1), ("b", COMMON), ("c", COMMON)], 10_000)
    assert [one.query for one in chosen.lookups] == [f"('{STORE}') & 'a' & 'b'"]
    assert chosen.lookups[0].weight == chosen.words[0].weight + chosen.words[1].weight


def test_a_word_alone_that_does_not_fit() -> None:
    assert [one.query for one in choose([STORE], [("a", COMMON)], 10_000).lookups] == [f"('{STORE}') & 'a'"]
    assert choose([STORE], [("a", COMMON + 1)], 10_000).lookups == []


def test_quotes_and_backslashes_are_parts_of_words() -> None:
    assert choose([STORE], [("o'n\\e", 1)], 10).words[0].query == "'o''n\\\\e'"
