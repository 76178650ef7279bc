"""The words of a text, as the index of words and the queries use them: pure.

PostgreSQL divides a text at spaces. Chinese, Japanese, Thai, Lao, Khmer, Burmese and some other scripts have none, and
Korean attaches particles to its nouns. Runs of these scripts are taken out of the text and divided here, into
overlapping pairs of characters: 图书馆 gives 图书 and 书馆, which a query for 图书馆 gives too. A character includes
the marks that combine with it. A single character of Chinese or Korean can be a word, so the index has these
characters too, and a query looks one up if it stands alone.

The rest of the text is stemmed by PostgreSQL in the language of the text (`languages`). Compatibility forms such as
full-width letters and ligatures become the usual letters first, digits those of ASCII, and signs that many omit are
left out, in texts and in queries.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.search.languages import LANGUAGES, language_of

# The version of these rules. Chunks of an older version get their words again (`word_renewal`).
WORD_RULES = 4
# A word of each chunk that names its language. It has a space, so that no word of a text equals it.
_LANGUAGE_PREFIX = "language "
LANGUAGE_WORDS = tuple(_LANGUAGE_PREFIX + name for name in LANGUAGES)

# PostgreSQL keeps this many positions of a word, none greater than the last.
MAX_POSITIONS, LAST_POSITION = 255, 16_383

_HAN = "\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff"
_HANGUL = "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7a3\ud7b0-\ud7ff"
_SPACELESS = (
    "\u0e01-\u0e3a\u0e40-\u0e4e",  # Thai
    "\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf",  # Lao
    "\u0f40-\u0f84\u0f88-\u0fbc",  # Tibetan, whose syllables are divided by a sign
    "\u1000-\u103f\u1050-\u109f\ua9e0-\ua9ef\uaa60-\uaa7f",  # Burmese
    "\u1780-\u17d3\u17d7\u17dc\u17dd",  # Khmer
    "\u1950-\u1974\u1980-\u19c9\u1a20-\u1a7c\uaa80-\uaadf",  # Tai scripts
    "\u1b00-\u1b4b\ua980-\ua9c0",  # Balinese and Javanese
    "\ua000-\ua48c",  # Yi
)
_RUN = re.compile("|".join(f"[{ranges}]+" for ranges in (_HAN + _KANA, _HANGUL, *_SPACELESS)))
_LONE_WORD = re.compile(f"[{_HAN}{_HANGUL}]")
# Signs that join the next letter to the one before, in Khmer, Burmese, Tai Tham, Balinese and Javanese.
_JOINERS = frozenset("\u17d2\u1039\u1a60\u1b44\ua9c0")
# Signs that are written or omitted freely: soft hyphens, the points of Hebrew, the vowel signs and the stretching of
# Arabic, the nukta of Hindi. Signs without a width that say how letters are set: places where a line may break, the
# direction of writing, joiners, variants of a sign. The joiner that Persian writes for a space inside a word stays.
_OPTIONAL = re.compile(
    "[\u00ad\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670\u093c"
    "\u034f\u061c\u180b-\u180f\u200b\u200d-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0100-\U000e01ef]|(?<![\u0600-\u06ff])\u200c"
)
# Digits of all scripts are those of ASCII, and œ is written oe by many.
_SAME = {code: str(unicodedata.decimal(chr(code))) for code in range(0x80, 0x20000) if chr(code).isdecimal()}
_SAME |= {ord("œ"): "oe", ord("Œ"): "OE", 0: " "}


@dataclass(frozen=True, slots=True)
class TextWords:
    """The parts of a text that give its words.

    `spaced` is the text without the runs that have no spaces, for PostgreSQL to divide and stem. `pairs` is a tsvector
    of the runs, as text.
    """

    language: str
    spaced: str
    pairs: str

    @property
    def language_word(self) -> str:
        return _LANGUAGE_PREFIX + self.language


def divide_text(text: str) -> TextWords:
    """Returns the parts of a text of a file."""
    folded = _fold(text)
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, word in enumerate(_run_words(folded, has_lone_words=True), 1):
        if len(positions[word]) < MAX_POSITIONS:
            positions[word].append(min(position, LAST_POSITION))
    pairs = " ".join(f"'{word}':{','.join(map(str, at))}" for word, at in positions.items())
    spaced = _RUN.sub(" ", folded) if positions else folded
    return TextWords(language_of(_RUN.sub(" ", text)), spaced, pairs)


def divide_query(query: str) -> tuple[str, Sequence[str]]:
    """Returns the part of a query that PostgreSQL divides, and the words of the rest, each once."""
    folded = _fold(query)
    return _RUN.sub(" ", folded), list(dict.fromkeys(_run_words(folded, has_lone_words=False)))


def _fold(text: str) -> str:
    return _OPTIONAL.sub("", unicodedata.normalize("NFKC", text)).translate(_SAME)


def _run_words(text: str, *, has_lone_words: bool) -> Iterator[str]:
    """Yields the pairs of each run and, if `has_lone_words`, its characters that can be words; a character that stands
    alone is always a word."""
    for run in _RUN.finditer(text):
        characters = _characters(run.group())
        if len(characters) == 1:
            yield characters[0]
            continue
        for at, character in enumerate(characters):
            if has_lone_words and _LONE_WORD.match(character):
                yield character
            if at:
                yield characters[at - 1] + character


def _characters(run: str) -> Sequence[str]:
    """Returns the characters of a run, each with the marks that combine with it."""
    characters: list[str] = []
    for letter in run:
        is_mark = unicodedata.category(letter)[0] == "M"
        if characters and (is_mark or characters[-1][-1] in _JOINERS):
            characters[-1] += letter
        else:
            characters.append(letter)
    return characters
