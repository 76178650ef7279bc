"""Choosing which of a query's words are looked up, and weighing them: pure.

A word's weight follows from how rare the word is in the searched stores, as in BM25: ln(1 + (N - n + ½) / (n + ½)), for
N chunks of which n have the word. All words count when candidates are measured, but only the rarest are looked up: as
many as occur in at most LOOKUP_BUDGET chunks together. Words such as "how", "the" and "server" are in half of all
chunks; they distinguish little, and reading their rows would take most of the time. If even the rarest word is in more
chunks than that, the chunks that have the two rarest words are looked up. If the rarest word is in more than
MAX_WORD_CHUNKS chunks, nothing is looked up: any selection from so many chunks would be as good as another, and the
index takes a millisecond for every 2,000 of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

# Words of a query that count: the rarest.
MAX_WORDS = 32
# Chunks that are looked up by their words.
LOOKUP_BUDGET = 1_000
# Chunks that a word may be in if it is to be looked up.
MAX_WORD_CHUNKS = 5_000


@dataclass(frozen=True, slots=True)
class WeightedWord:
    """`stems` are the tsqueries of the word's stems, one for each language that gives another; `weight` is the word's
    share of the weight of all the query's words."""

    stems: Sequence[str]
    weight: float

    @property
    def query(self) -> str:
        """A tsquery of the word in any language."""
        return self.stems[0] if len(self.stems) == 1 else "(" + " | ".join(self.stems) + ")"


@dataclass(frozen=True, slots=True)
class WordLookup:
    """`query` is a tsquery that names the stores and one word, or two. `weight` is the weight of these words."""

    query: str
    weight: float


@dataclass(frozen=True, slots=True)
class QueryWords:
    """`words` measure the candidates; `lookups` find candidates, and their tsqueries also name the stores."""

    words: Sequence[WeightedWord]
    lookups: Sequence[WordLookup]


def weigh_words(
    stores: Sequence[str], words: Sequence[tuple[Sequence[str], int]], chunks: int, unknown: int = 0
) -> QueryWords:
    """Weighs pairs (stems of a word, number of chunks that have it), rarest first, and selects the words to look up.

    `chunks` is the number of chunks in the stores; `unknown` is the number of the query's words that no chunk has.
    """
    weights = [math.log(1 + max(0.0, chunks - count + 0.5) / (count + 0.5)) for _, count in words]
    # An unknown word would weigh most. A chunk that lacks it lacks much of the query, so it counts in the total.
    total = sum(weights) + unknown * math.log(1 + (chunks + 0.5) / 0.5) or 1.0
    weighted = [
        WeightedWord([_quote(stem) for stem in stems], weight / total)
        for (stems, _), weight in zip(words, weights, strict=True)
    ]
    among = "(" + " | ".join(_quote(store) for store in stores) + ") & "
    lookups = _select_lookups(weighted, [count for _, count in words])
    return QueryWords(weighted, [WordLookup(among + each.query, each.weight) for each in lookups])


def _select_lookups(words: Sequence[WeightedWord], counts: Sequence[int]) -> Sequence[WordLookup]:
    rare = sum(1 for chunks in accumulate(counts) if chunks <= LOOKUP_BUDGET)
    if rare or not words or counts[0] > MAX_WORD_CHUNKS:
        return [WordLookup(word.query, word.weight) for word in words[:rare]]
    two = words[:2]
    return [WordLookup(" & ".join(word.query for word in two), sum(word.weight for word in two))]


def _quote(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
