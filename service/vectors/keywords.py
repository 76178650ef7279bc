"""Which of a query's words are looked up, and what each weighs: pure.

A word weighs by how rare it is in the stores searched, as in BM25: ln(1 + (N - n + ½) / (n + ½)), N chunks, n with the
word. All words count where candidates are judged, but only the rarest are looked up, as many as together are in at most
BUDGET chunks: "how", "the" and "server" are in half of them, tell little, and reading their rows would take most of the
time. The rarest one is always looked up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Words of one query that count; the rarest.
MAX_WORDS = 32
# Chunks that are looked at for their words.
BUDGET = 1_500


@dataclass(frozen=True, slots=True)
class Word:
    """`word` and `query` are tsqueries, the second within the stores; `weight` is a share of all the words' weight."""

    word: str
    query: str
    weight: float
    looked_up: bool


def choose(stores: Sequence[str], words: Sequence[tuple[str, int]], chunks: int, unknown: int = 0) -> list[Word]:
    """The words of a query, of (word, chunks with it) by rarity, the rarest first. `unknown` words are in no chunk."""
    among = "(" + " | ".join(_quoted(store) for store in stores) + ")"
    weights = [math.log(1 + max(0.0, chunks - count + 0.5) / (count + 0.5)) for _, count in words]
    # A word that is nowhere would have been the weightiest: a chunk that lacks it lacks much of what was asked.
    total = sum(weights) + unknown * math.log(1 + (chunks + 0.5) / 0.5) or 1.0
    made: list[Word] = []
    read = 0
    for (word, count), weight in zip(words, weights, strict=True):
        read += count
        quoted = _quoted(word)
        made.append(Word(quoted, f"{among} & {quoted}", weight / total, looked_up=not made or read <= BUDGET))
    return made


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
