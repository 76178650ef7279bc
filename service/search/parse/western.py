"""Whether a short text, read as Windows-1252, looks like a text of a Western European language.

The frequencies of letters say little about a text of a few words, but the letters and marks of these languages stand at
few places: ñ before a vowel, ò at the end of a word, £ before a digit. A text in another encoding breaks such rules.
"""

from __future__ import annotations

import re

_VOWELS = frozenset("aeiouyáéíóúàèòäöüâêîôû")
# Letters outside ASCII by language: French, German, Spanish, Portuguese, Italian, Dutch and English, Swedish and
# Finnish, Danish and Norwegian, Catalan. Those of Icelandic alone are letters of Turkish and Lithuanian elsewhere.
_ALPHABETS = tuple(
    map(
        frozenset,
        (
            "àâæçèéêëîïñôœùûüÿ", "äöüßéàè", "áéíñóúü", "áàâãçéêíóôõúü", "àèéìíîòóùú", "áéíóúëïöüèêôâçñû", "åäöéàü",
            "æøåéóòôêèü", "àçèéíïòóúüñ",
        ),
    )
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
# Ends of words after an apostrophe in English, and beginnings before one in French and Italian.
_AFTER_APOSTROPHE = frozenset(("s", "t", "d", "m", "re", "ve", "ll", "em", "clock", "n"))
_BEFORE_APOSTROPHE = re.compile(
    r"(?:^|.*[^\w])(?:[cdjlmnstoy]|qu|lorsqu|puisqu|jusqu|aujourd|[a-z]*ll|un)$", re.IGNORECASE
)
_FREE = frozenset("\u00a0\u00ad")


def is_western(text: str) -> bool:
    """Returns whether each character outside ASCII stands where a Western European language has it."""
    letters = {letter.lower() for letter in text if letter.isalpha() and not letter.isascii() and letter not in "ªº"}
    if letters and not any(letters <= alphabet for alphabet in _ALPHABETS):
        return False
    if not all(_is_spelt(word) for word in _WORD.findall(text.replace("ª", " ").replace("º", " "))):
        return False
    marks = (at for at, letter in enumerate(text) if not letter.isascii() and letter not in _FREE)
    return all(is_placed(text, at) for at in marks if not text[at].isalpha() or text[at] in "ªº")


def has_letters(text: str) -> bool:
    return any(letter.isalpha() and not letter.isascii() for letter in text)


def _is_spelt(word: str) -> bool:
    if word.isascii() or not word.isalpha():
        return True
    if not (word.islower() or word.isupper() or word[1:].islower()):
        return False
    word = word.lower()
    around = zip(" " + word, word, word[1:] + " ", strict=False)
    return all(_is_in_place(before, letter, after) for before, letter, after in around if not letter.isascii())


def _is_in_place(before: str, letter: str, after: str) -> bool:
    """Returns whether a lower-case letter stands between two letters as in some language; a space is a word's edge."""
    match letter:
        case "ñ":
            return after in _VOWELS
        case "ç":
            return after in "aouâãóôeéêií " and before != "ç"
        case "ß":
            return before in "aeiouäöü"
        case "ã" | "õ":
            return after in ("oes " if letter == "ã" else "e")
        case "œ":
            return after in "uieé"
        case "ù" | "ì":
            return after == " "
        case "ò":
            return before not in "aeo" and (after == " " or after not in _VOWELS)
        case "è" | "ø":
            return after not in "aeiou"
        case "ï":
            return before in _VOWELS
        case "ÿ" | "ë":
            return before != " " or after != " "
        case _:
            return True


def is_placed(text: str, at: int) -> bool:
    """Returns whether a mark stands where texts have it."""
    before, after = text[at - 1 : at] or " ", text[at + 1 : at + 2] or " "
    inside = before.isalpha() and after.isalpha()
    match text[at]:
        case "’" | "‘" if inside:
            ending = _WORD.match(text, at + 1)
            return (ending is not None and ending.group().lower() in _AFTER_APOSTROPHE) or bool(
                _BEFORE_APOSTROPHE.match(text[max(0, at - 20) : at])
            )
        case "’" | "‘":
            return before.isascii() or after.isspace() or not before.isalpha()
        case "“" | "”" | "„" | "‚" | "«" | "»" | "‹" | "›":
            return not inside
        case "–" | "—":
            return not (before.islower() and after.islower())
        case "…":
            return not before.isspace() or not after.isalpha()
        case "€" | "£" | "¥":
            near = (text[max(0, at - 2) : at] + text[at + 1 : at + 3]).replace("\u00a0", " ")
            return not inside and (any(each.isdigit() for each in near) or not (before + after).strip())
        case "¢" | "º" | "ª" | "°":
            return before.isdigit() or (text[at] == "°" and before == " ") or (before in "nN" and not after.isalpha())
        case "²" | "³" | "¹":
            return before.isdigit() or (before in "mx" and not after.isalpha())
        case "®" | "™":
            return not after.isalpha()
        case "§" | "¶" | "©" | "•" | "±" | "×" | "÷" | "¼" | "½" | "¾" | "·" | "†" | "‡" | "‰":
            return not before.isalpha() and not after.isalpha()
        case "¿" | "¡":
            return not before.isalpha() and (after.isupper() or after in "¡¿")
        case _:
            return False
