"""From two orders of candidates, by meaning and by words, to one with scores: pure.

Reciprocal rank fusion: whoever is r-th in an order gets 1 / (K + r) from it, and candidates go by their sum. That needs
no common scale, but its numbers say nothing about how good the best one is. So the first CANDIDATES of the fused order
are ranked anew by a score that does: how alike chunk and query are by the cosine of their vectors, and how much of what
the query says (its words, rare ones weighing more) the chunk has, a fixed share of each. See docs/file-search.md for
what each step gains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

K = 60
CANDIDATES = 50
# The share that likeness has in the score; what the words say has the rest.
LIKENESS = 0.6


Place = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """`likeness`: the cosine, or None where the chunk has no vector; `found`: the share of the words, 0 to 1."""

    store_id: str
    file_id: str
    job: int
    chunk: int
    likeness: float | None
    found: float

    @property
    def place(self) -> Place:
        """Which chunk it is; also what decides between equals, so that a search says the same twice."""
        return self.store_id, self.file_id, self.job, self.chunk


@dataclass(frozen=True, slots=True)
class Ranked:
    candidate: Candidate
    score: float


def fuse(candidates: Sequence[Candidate]) -> list[Ranked]:
    """The best CANDIDATES of those, best first. The score is the share of the greatest sum there can be."""
    by_meaning = sorted(
        (one for one in candidates if one.likeness is not None), key=lambda one: (-(one.likeness or 0.0), one.place)
    )
    by_words = sorted((one for one in candidates if one.found > 0), key=lambda one: (-one.found, one.place))
    sums: dict[Candidate, float] = {}
    for order in (by_meaning, by_words):
        for place, one in enumerate(order, 1):
            sums[one] = sums.get(one, 0.0) + 1 / (K + place)
    best = sorted(sums, key=lambda one: (-sums[one], one.place))[:CANDIDATES]
    return [Ranked(one, sums[one] * (K + 1) / 2) for one in best]


def rank(fused: Iterable[Ranked]) -> list[Ranked]:
    """The same candidates by a score that says how good each is, best first."""
    scored = [Ranked(one.candidate, score(one.candidate)) for one in fused]
    return sorted(scored, key=lambda one: (-one.score, one.candidate.place))


def score(candidate: Candidate) -> float:
    """Between 0 and 1; of what a candidate lacks (a vector) the other measure takes the place."""
    found = min(1.0, max(0.0, candidate.found))
    if candidate.likeness is None:
        return found
    return LIKENESS * min(1.0, max(0.0, candidate.likeness)) + (1 - LIKENESS) * found
