"""Chooses the words of a passage to quote: the sentences that have most words of the query."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Maximum length of a quote, and minimum length of a word that counts, in characters.
MAX_QUOTE = 300
MIN_WORD = 4
# A sentence, or as many words of a long one; a run without spaces; spaces.
_SENTENCE = re.compile(r"[^.!?\n]{1,150}(?=\s|[.!?]|$)[.!?]*\s*|\S{1,150}\s*|\s+")
_WORD = re.compile(r"\w+")


def quote(text: str, queries: Sequence[str]) -> str:
    """Returns a part of `text`, unchanged: whole sentences if they are short, and the first ones among equals."""
    asked = {_stem(word) for query in queries for word in _WORD.findall(query.lower()) if len(word) >= MIN_WORD}
    spans = [match.span() for match in _SENTENCE.finditer(text)]
    best, most = (0, min(len(text), MAX_QUOTE)), -1
    first = 0
    for last, (_, stop) in enumerate(spans):
        while first < last and stop - spans[first][0] > MAX_QUOTE:
            first += 1
        begin = spans[first][0]
        end = min(stop, begin + MAX_QUOTE)
        found = asked & {_stem(word) for word in _WORD.findall(text[begin:end].lower())}
        if len(found) > most:
            best, most = (begin, end), len(found)
    return text[best[0] : best[1]].strip()


def _stem(word: str) -> str:
    """Returns a prefix of a word that its other forms share."""
    return word[:MIN_WORD]
