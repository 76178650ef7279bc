"""Fusing two orders of candidates, by vector similarity and by words, into one order with scores: pure.

Reciprocal rank fusion gives the candidate at rank r of an order 1 / (K + r) points and sorts candidates by their sums.
It needs no common scale, but its sums do not say how good the best candidate is. So the first CANDIDATES of the fused
order are sorted again by a score that does. The score is a weighted sum of the cosine similarity of chunk and query and
of the share of the query's words that the chunk has, with rare words weighing more. docs/file-search.md reports the
gain of each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

K = 60
CANDIDATES = 50
# The weight of the vector similarity in the score; the share of words has the rest.
SIMILARITY_WEIGHT = 0.6

# Store id, file id, job number and chunk number.
ChunkKey = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk with its two measures.

    `similarity` is the cosine of the chunk's and the query's vectors, scaled by `scale_similarities`, or None if the
    chunk has no vector. `word_share` is the weight of the query's words that the chunk has, 0 to 1.
    """

    store_id: str
    file_id: str
    job: int
    chunk: int
    similarity: float | None
    word_share: float

    @property
    def key(self) -> ChunkKey:
        """The identity of the chunk. It also orders candidates of equal score, so that results are reproducible."""
        return self.store_id, self.file_id, self.job, self.chunk


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    candidate: Candidate
    score: float


def scale_similarities(candidates: Sequence[Candidate], baseline: float) -> list[Candidate]:
    """Returns the candidates with similarities on a scale from 0 (the cosine `baseline`) to 1.

    The cosines of some models lie close together. Without this, every text would be similar to every query, and in the
    score the words would decide alone.
    """
    if baseline == 0.0:
        return list(candidates)
    return [
        each if each.similarity is None else replace(each, similarity=(each.similarity - baseline) / (1.0 - baseline))
        for each in candidates
    ]


def fuse(candidates: Sequence[Candidate]) -> list[RankedCandidate]:
    """Returns the best CANDIDATES by reciprocal rank fusion, best first.

    A score is the candidate's sum divided by the greatest possible sum.
    """
    by_similarity = sorted(
        (each for each in candidates if each.similarity is not None),
        key=lambda each: (-(each.similarity or 0.0), each.key),
    )
    by_words = sorted(
        (each for each in candidates if each.word_share > 0), key=lambda each: (-each.word_share, each.key)
    )
    sums: dict[Candidate, float] = {}
    for order in (by_similarity, by_words):
        for position, candidate in enumerate(order, 1):
            sums[candidate] = sums.get(candidate, 0.0) + 1 / (K + position)
    best = sorted(sums, key=lambda each: (-sums[each], each.key))[:CANDIDATES]
    return [RankedCandidate(each, sums[each] * (K + 1) / 2) for each in best]


def rank(fused: Iterable[RankedCandidate]) -> list[RankedCandidate]:
    """Returns the same candidates with their absolute scores, best first."""
    ranked = [RankedCandidate(each.candidate, score(each.candidate)) for each in fused]
    return sorted(ranked, key=lambda each: (-each.score, each.candidate.key))


def score(candidate: Candidate) -> float:
    """Returns a score between 0 and 1. If the candidate has no vector, the share of words is the whole score."""
    word_share = min(1.0, max(0.0, candidate.word_share))
    if candidate.similarity is None:
        return word_share
    return SIMILARITY_WEIGHT * min(1.0, max(0.0, candidate.similarity)) + (1 - SIMILARITY_WEIGHT) * word_share
