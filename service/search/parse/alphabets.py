"""Whether text, read in an encoding, looks like text of a language that is written in that encoding.

The frequencies of letters take short texts in rare encodings for text in a common one. Such a reading shows: letters of
several alphabets stand in one line, capitals inside words, marks between letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from service.search.parse.western import is_placed, is_western

# Lines with other characters than those of ASCII that are looked at, and characters of a line.
MAX_LINES, MAX_LINE = 200, 1000
# A rare encoding is taken if it fits so many of 10 lines, and so many times as many lines as the guess fits.
MIN_LINES_OF_10, MIN_TIMES = 8, 2
_WORD = re.compile(r"[^\W\d_]+")
# A mark between two letters. Apostrophes, hyphens and dashes may stand there.
_MARK_IN_WORD = re.compile(r"(?<=[^\W\d_])(?!['’\-­–—])[^\w\s\x00-\x7f](?=[^\W\d_])")
# Bytes outside ASCII below which a line says too little, and letters below which a Serbian text may lack ј.
MIN_BYTES, MIN_LETTERS = 2, 15
# Syllables below which Korean text may be text of another script that fits by chance.
MIN_SYLLABLES = 4
_BOXES = re.compile("[\u2500-\u259f]+")
_BALTIC = ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž")
_CENTRAL = (
    "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ", "äöüß", "ëç"
)  # fmt: skip
_RUSSIAN = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
_CYRILLIC = (
    _RUSSIAN, "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя", "абвгдеёжзійклмнопрстуўфхцчшыьэюя", "абвгдђежзијклљмнњопрстћуфхцчџш",
    "абвгдѓежзѕијклљмнњопрстќуфхцчџш",
)  # fmt: skip


def is_more_plausible(head: bytes, rare: str, guess: str | None) -> bool:
    """Returns whether the lines of the sample that are not ASCII fit a rare encoding, and hardly the guessed one."""
    lines = [line[:MAX_LINE] for line in head.splitlines() if not line.isascii()][:MAX_LINES]
    fitting = sum(_fits(line, rare) for line in lines)
    if fitting == 0 or fitting * 10 < len(lines) * MIN_LINES_OF_10:
        return False
    return fitting >= MIN_TIMES * sum(guess is not None and _fits(line, guess) for line in lines)


def _fits(line: bytes, encoding: str) -> bool:
    if sum(byte > 127 for byte in line) < MIN_BYTES:
        return False
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return _LANGUAGES.get(encoding, _is_any)(text)


def _is_any(text: str) -> bool:
    """Returns True: the texts of other scripts are not judged."""
    return True


def _is_dos(text: str) -> bool:
    """Returns whether the text is Western European, apart from frames of tables."""
    text = _BOXES.sub(" ", text)
    return text.isascii() or is_western(text)


def _is_baltic(text: str) -> bool:
    return _is_of(text, _BALTIC)


def _is_central(text: str) -> bool:
    return _is_of(text, _CENTRAL)


def _is_cyrillic(text: str) -> bool:
    """Returns whether the letters of one Cyrillic alphabet stand in words of their own."""
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    letters = "".join(words).lower()
    if len(letters) >= MIN_LETTERS and "ј" not in letters and not {*"ђљњћџѓѕќ"}.isdisjoint(letters):
        return False
    return _is_of(text, _CYRILLIC) and not any(letter.isascii() for letter in letters)


def _is_korean(text: str) -> bool:
    """Returns whether all characters that are not ASCII are syllables of common words, which KS X 1001 has."""
    syllables = [letter for letter in text if not letter.isascii()]
    if len(syllables) < MIN_SYLLABLES or not all("가" <= letter <= "힣" for letter in syllables):
        return False
    return len("".join(syllables).encode("euc_kr", "ignore")) == 2 * len(syllables)


def _is_of(text: str, alphabets: tuple[str, ...]) -> bool:
    """Returns whether all letters that are not ASCII are of one of the alphabets, and they and the marks are placed as
    texts have them.
    """
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    letters = {letter.lower() for word in words for letter in word if not letter.isascii()}
    if not any(letters <= {*alphabet} for alphabet in alphabets) or _MARK_IN_WORD.search(text) is not None:
        return False
    if not all(word.islower() or word.isupper() or word[1:].islower() for word in words):
        return False
    marks = (at for at, letter in enumerate(text) if not letter.isascii() and not letter.isalpha())
    return all(text[at] in "\u00a0\u00ad№" or (is_placed(text, at) and not _is_loose(text, at)) for at in marks)


def _is_loose(text: str, at: int) -> bool:
    """Returns whether a low quotation mark opens nothing."""
    return text[at] in "„‚" and text[at + 1 : at + 2].strip() == ""


_LANGUAGES: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(("cp850", "cp437"), _is_dos),
    **dict.fromkeys(("cp1252", "iso8859-1", "iso8859-15", "mac-roman"), is_western),
    **dict.fromkeys(("cp1257", "iso8859-13", "iso8859-4"), _is_baltic),
    **dict.fromkeys(("cp1250", "iso8859-2"), _is_central),
    "johab": _is_korean,
    **dict.fromkeys(("cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "mac-cyrillic"), _is_cyrillic),
}
