"""Finding the language of a text, as the name of a text search configuration of PostgreSQL 15: pure.

The script decides if only one known language uses it. Otherwise the function words and some letters decide: a word that
several languages have counts less. A Latin text without any of them has the language DEFAULT.

A wrong guess does little harm: a query is stemmed by every language that the stores' chunks were given
(`sql/queries/search.sql`), so a chunk and a query always meet in the same stems.
"""

from __future__ import annotations

import re
from collections import Counter

from service.search.function_words import FUNCTION_WORDS, LETTERS, OTHERS

DEFAULT = "english"
# The configuration without stems and stop words, for languages that PostgreSQL has no stems for.
PLAIN = "simple"
# Characters that are read, from the beginning of the text.
SAMPLE = 4_000

# The scripts, by ranges of characters. Arabic differs from Persian and Urdu by letters.
_SCRIPTS = {
    "latin": "A-Za-z\u00aa-\u024f\u1e00-\u1eff",
    "cyrillic": "\u0400-\u052f",
    "devanagari": "\u0900-\u097f",
    "arabic": "\u0620-\u06ff",
    "armenian": "\u0531-\u0587",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "hebrew": "\u05d0-\u05f2",
    "tamil": "\u0b80-\u0bff",
    "other": "\u0980-\u0b7f\u0c00-\u0dff\u10a0-\u10ff\u1200-\u137f\u1400-\u16ff",
}
_SCRIPT_PATTERNS = {name: re.compile(f"[{ranges}]") for name, ranges in _SCRIPTS.items()}
_BY_WORDS = frozenset({"latin", "cyrillic", "devanagari"})
_PERSIAN_OR_URDU = re.compile("[\u067e\u0686\u0698\u06a9\u06af\u06cc\u0679\u0688\u0691\u06ba\u06be\u06d2]")
_YIDDISH = re.compile("[\u05f0-\u05f2]|\u05d0[\u05b7\u05b8]")
_WORD = re.compile(r"(?:[^\W\d_]|[\u0900-\u0903\u093a-\u094f])+(?:'[^\W\d_]+)?")

_WORDS_OF = {name: frozenset(words.split()) for name, words in (*FUNCTION_WORDS.items(), *OTHERS.items())}
_LANGUAGES_OF_WORD = Counter(word for words in _WORDS_OF.values() for word in words)
LANGUAGES = (*sorted({*FUNCTION_WORDS, "arabic", "armenian", "greek", "tamil", "yiddish"}), PLAIN)


def language_of(text: str) -> str:
    """Returns one of LANGUAGES."""
    sample = text[:SAMPLE]
    letters = {name: len(pattern.findall(sample)) for name, pattern in _SCRIPT_PATTERNS.items()}
    script = max(letters, key=lambda name: letters[name])
    if not letters[script]:
        return DEFAULT
    if script in _BY_WORDS:
        return _by_function_words(sample.lower(), script)
    if script == "arabic":
        return PLAIN if 20 * len(_PERSIAN_OR_URDU.findall(sample)) > letters[script] else "arabic"
    if script == "hebrew":
        return "yiddish" if _YIDDISH.search(sample) else PLAIN
    return PLAIN if script == "other" else script


def _by_function_words(text: str, script: str) -> str:
    counts, letters = Counter(_WORD.findall(text)), Counter(text)
    evidence = {
        name: sum(counts[word] / _LANGUAGES_OF_WORD[word] for word in words & counts.keys())
        + sum(letters[letter] / 2 for letter in LETTERS.get(name, ""))
        for name, words in _WORDS_OF.items()
    }
    best = max(evidence, key=lambda name: (evidence[name], name == DEFAULT))
    if not evidence[best]:
        return DEFAULT if script == "latin" else PLAIN
    return best if best in FUNCTION_WORDS else PLAIN
