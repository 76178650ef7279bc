"""Which of a query's words are looked up, and what each weighs: pure.

A word weighs by how rare it is in the stores searched, as in BM25: ln(1 + (N - n + ½) / (n + ½)), N chunks, n with the
word. All words count where candidates are judged, but only the rarest are looked up, as many as together are in at most
BUDGET chunks: "how", "the" and "server" are in half of them, tell little, and reading their rows would take most of the
time. Where even the rarest is in more, chunks that have the two rarest are looked up; where it is in more than COMMON,
none: some of so many would be as good as any, and the index takes a millisecond for every 2,000 of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

# Words of one query that count; the rarest.
MAX_WORDS = 32
# Chunks that are looked at for their words.
BUDGET = 1_000
# What a word may be in to be looked up at all.
COMMON = 5_000


@dataclass(frozen=True, slots=True)
class Word:
    """`query` is a tsquery of the word alone; `weight` is a share of all the words' weight."""

    query: str
    weight: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """`words` to judge by, `lookups` to look up: their tsqueries are within the stores."""

    words: Sequence[Word]
    lookups: Sequence[Word]


def choose(stores: Sequence[str], words: Sequence[tuple[str, int]], chunks: int, unknown: int = 0) -> Chosen:
    """What to judge by and what to look up of (word, chunks with it), the rarest first. `unknown` words are nowhere."""
    weights = [math.log(1 + max(0.0, chunks - count + 0.5) / (count + 0.5)) for _, count in words]
    # A word that is nowhere would have been the weightiest: a chunk that lacks it lacks much of what was asked.
    total = sum(weights) + unknown * math.log(1 + (chunks + 0.5) / 0.5) or 1.0
    made = [Word(_quoted(word), weight / total) for (word, _), weight in zip(words, weights, strict=True)]
    among = "(" + " | ".join(_quoted(store) for store in stores) + ") & "
    lookups = _lookups(made, [count for _, count in words])
    return Chosen(made, [Word(among + one.query, one.weight) for one in lookups])


def _lookups(words: Sequence[Word], counts: Sequence[int]) -> Sequence[Word]:
    rare = sum(1 for read in accumulate(counts) if read <= BUDGET)
    if rare or not words or counts[0] > COMMON:
        return words[:rare]
    two = words[:2]
    return [Word(" & ".join(word.query for word in two), sum(word.weight for word in two))]


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
