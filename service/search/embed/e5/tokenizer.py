"""The tokenizer of XLM-RoBERTa, whose vocabulary multilingual-e5-small has: SentencePiece's unigram model, pure.

A text is normalized (NFKC, and a table of the vocabulary's own that replaces blanks and deletes control characters),
divided at white space, and each word is divided into the pieces whose scores have the greatest sum (Viterbi).

The library `tokenizers` does the same with 260 MB of memory for this vocabulary; this needs 45.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

# Stands for the blank before a word.
BLANK = "\u2581"
# The score of an unknown character is that of the least likely piece minus this, as in SentencePiece.
UNKNOWN_PENALTY = 10.0
# Words whose pieces are kept.
CACHED_WORDS = 8_192


class UnigramTokenizer:
    """Divides texts into token ids. Safe to call from several threads.

    `pieces` and `scores` are the vocabulary by token id. `special` are the ids that no text has, such as those of the
    markers; `characters` maps code points to the text that replaces them.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        scores: Sequence[float],
        *,
        special: frozenset[int],
        unknown: int,
        characters: Mapping[int, str],
    ) -> None:
        self._ids = {piece: number for number, piece in enumerate(pieces) if number not in special}
        self._scores = scores
        self._unknown = unknown
        self._unknown_score = min(scores) - UNKNOWN_PENALTY
        self._longest = max(map(len, self._ids))
        self._characters = characters
        self._divide = lru_cache(CACHED_WORDS)(self._divide_word)

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text, without markers."""
        words = unicodedata.normalize("NFKC", text).translate(self._characters).split()
        return [number for word in words for number in self._divide(BLANK + word)]

    def _divide_word(self, word: str) -> tuple[int, ...]:
        """Returns the ids of the best pieces. Neighbouring unknown characters are one token."""
        length = len(word)
        best = [0.0, *[-math.inf] * length]  # by the end of the last piece
        last = [(0, self._unknown)] * (length + 1)  # its beginning and its id
        for begin in range(length):
            so_far = best[begin]
            for end in range(begin + 1, min(length, begin + self._longest) + 1):
                number = self._ids.get(word[begin:end])
                if number is not None:
                    score = so_far + self._scores[number]
                elif end == begin + 1:
                    number, score = self._unknown, so_far + self._unknown_score
                else:
                    continue
                if score > best[end]:
                    best[end], last[end] = score, (begin, number)
        ids: list[int] = []
        at = length
        while at:
            at, number = last[at]
            if number != self._unknown or not ids or ids[-1] != number:
                ids.append(number)
        return tuple(reversed(ids))
