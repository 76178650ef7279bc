"""Text in any encoding: code, prose, tables of comma-separated values, JSON."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from typing import BinaryIO

import chardet

from service.search.parse.alphabets import is_more_plausible
from service.search.parse.declared_encoding import declared_encoding
from service.search.parse.types import READ, TextPiece, UnreadableFile
from service.search.parse.utf16 import east_asian_utf16, utf16_encoding
from service.search.parse.western import has_letters, is_western

# Bytes that the guess of an encoding reads.
SAMPLE = 65_536
# A file with this many valid sequences of UTF-8 for each byte that is invalid is UTF-8.
VALID_FOR_INVALID = 3
# Encodings that programs of users write. Others, of mainframes and old systems, fit short texts by chance.
_GUESSED = (
    *("big5hkscs", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp866", "cp874"),
    *("cp949", "cp932", "euc_jis_2004", "gb18030", "iso2022_jp_2", "iso2022_kr", "shift_jis_2004", "mac-roman"),
    *("iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-9", "iso8859-13", "iso8859-15", "koi8-r", "koi8-u"),
)
# Encodings that are taken only if the guess does not look like text and one of these does, in this order.
_RARE = ("mac-cyrillic", "cp850", "cp437", "iso8859-4")
# Encodings that have all characters of another one at the same bytes, and more.
_SUPERSETS = {"iso8859-1": "cp1252", "iso8859-9": "cp1254", "tis-620": "cp874", "euc_kr": "cp949"}
_ESCAPE = b"\x1b$"
# Letters that UTF-7 shifts, up to the character that ends them; a plus sign by itself is none.
_SHIFTED = re.compile(rb"\+[A-Za-z0-9+/]*-?")
_JAPANESE = ("euc_jp", "cp932")
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "iso8859-2", "iso8859-13", "iso8859-15", "mac-roman")
# Marks that begin Spanish sentences, before a capital letter, and the bytes that Spanish has in cp1252.
_SPANISH = re.compile("[¿¡][A-ZÁÉÍÓÚÑ]".encode("cp1252"))
_SPANISH_LETTERS = frozenset("áéíóúüñÁÉÍÓÚÜÑ¿¡ºª«»“”‘’–—…€".encode("cp1252"))
_WORD = re.compile(r"\w+")
# A mark between two letters, which is a letter in the right encoding. Apostrophes, hyphens and dashes may stand there.
_MARK_IN_WORD = re.compile(r"(?<=[^\W\d_])(?!['’\-­·–—])[^\w\s\x00-\x7f](?=[^\W\d_])")
# Bytes that are not ASCII in a short text, and how many times likelier another encoding must be than Windows-1252 if
# the text looks as if it were in that.
WESTERN_BYTES, WESTERN_FACTOR = 30, 5.0
# The least confidence in Johab, whose syllables text in other encodings has by chance.
JOHAB_CONFIDENCE = 0.1
_FIRST_OTHER_SCRIPT = 0x370  # Greek; Latin letters come before it
chardet.detect(b"\xe9t\xe9")  # reads its models, before the worker drops its right to read files
# Control characters that text does not have. A sample that consists of more than a tenth of them is not text.
_CONTROL = frozenset(range(32)) - {7, 8, 9, 10, 11, 12, 13, 27}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the decoded text unchanged, including its line ends."""
    encoding = detect_encoding(file)
    file.seek(0)
    decode = codecs.getincrementaldecoder(encoding)(errors="replace").decode
    while data := file.read(READ):
        yield decode(data), None
    yield decode(b"", True), None


def detect_encoding(file: BinaryIO) -> str:
    """Returns the encoding of the byte order mark, or UTF-16 or UTF-8 if the file is nearly all valid, or a guess.

    Raises UnreadableFile if the file is not text.
    """
    head = file.read(SAMPLE)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    has_controls = sum(head.count(code) for code in _CONTROL) * 10 > len(head)
    if (has_controls or 0 in head) and (utf16 := utf16_encoding(head)) is not None:
        return utf16
    file.seek(0)
    if _is_utf8(file):
        if has_controls:
            raise UnreadableFile("The file holds no text.")
        # The encodings of ISO 2022, HZ and UTF-7 use escape sequences and the bytes of ASCII.
        if not head.isascii():
            return "utf-8"
        return _guess_encoding(head) if _ESCAPE in head else _seven_bit_encoding(head)
    # Texts in UTF-16 have bytes that these encodings have not, but short texts in these may look like UTF-16.
    is_legacy = any(
        _fits(head, encoding) and not head.decode(encoding, "ignore").isascii()
        for encoding in ("gb2312", "euc_kr", "euc_jp")
    )
    utf16 = None if is_legacy else east_asian_utf16(head)
    declared = declared_encoding(head)
    return utf16 or (declared if declared and _fits(head, declared) else _guess_encoding(head))


def _seven_bit_encoding(head: bytes) -> str:
    """Returns HZ or UTF-7 if all shifted text is valid in it and stands for letters and marks, else UTF-8."""
    if b"~{" in head and b"~}" in head and _decodes_to_more(head, "hz"):
        return "hz"
    shifted = [found for found in _SHIFTED.findall(head) if found != b"+-"]
    if shifted and b"utf-8" not in head.lower() and all(_decodes_to_more(each, "utf-7") for each in shifted):
        return "utf-7"
    return "utf-8"


def _decodes_to_more(data: bytes, encoding: str) -> bool:
    """Returns whether the bytes are valid and have letters and marks that ASCII lacks, and no other such characters."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    others = [letter for letter in text if not letter.isascii()]
    return bool(others) and all(unicodedata.category(letter)[0] in "LMPNSZ" for letter in others)


def _is_utf8(file: BinaryIO) -> bool:
    """Returns whether all of the file, or nearly all of it, is valid UTF-8. A character that is cut off is valid."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    valid = invalid = 0
    while data := file.read(READ):
        text = decoder.decode(data)
        wrong = text.count("\ufffd") - data.count("\ufffd".encode())
        invalid += max(wrong, 0)
        valid += len(text) - len(text.encode("ascii", "ignore")) - wrong
        if invalid > READ and invalid * VALID_FOR_INVALID > valid:
            return False
    if valid == 0 and len(decoder.getstate()[0]) == 1:
        return False  # the only character that is not ASCII is one byte at the end, such as the é of "café"
    return invalid == 0 if valid == 0 else invalid * VALID_FOR_INVALID <= valid


def _guess_encoding(head: bytes) -> str:
    """Returns the likeliest encoding by the frequency of pairs of letters. Raises UnreadableFile if none fits."""
    guess = _guess_common_encoding(head)
    if is_more_plausible(head, "johab", None) and _confidence(head, "johab") >= JOHAB_CONFIDENCE:
        return "johab"
    rare = next((each for each in _RARE if is_more_plausible(head, each, guess)), guess)
    if rare is None:
        raise UnreadableFile("The file holds no text in an encoding that can be recognized.")
    return _SUPERSETS.get(rare, rare)


def _guess_common_encoding(head: bytes) -> str | None:
    for encoding in _JAPANESE:
        if _is_kana(head, encoding):
            return encoding
    if _SPANISH.search(head) and {byte for byte in head if byte > 127} <= _SPANISH_LETTERS:
        return "cp1252"
    guess = _likeliest(head, _GUESSED)
    if guess is not None and _mixes_scripts(head, guess):
        guess = _likeliest(head, _LATIN) or guess
    if guess is not None and guess != "cp1252" and _is_rather_western(head, guess):
        return "cp1252"
    if guess in _LATIN and _MARK_IN_WORD.search(head.decode(guess, "replace")) is not None:
        others = (each for each in _LATIN if _MARK_IN_WORD.search(head.decode(each, "replace")) is None)
        guess = max(others, key=lambda each: _confidence(head, each), default=guess)
    return guess


def _likeliest(head: bytes, encodings: tuple[str, ...]) -> str | None:
    found = chardet.detect(head, prefer_superset=False, include_encodings=encodings)["encoding"]
    return None if found is None else codecs.lookup(found).name


def _is_rather_western(head: bytes, guess: str) -> bool:
    """Returns whether a short text is rather in Windows-1252 than in the encoding that its letters' frequencies say."""
    if not 0 < sum(byte > 127 for byte in head) <= WESTERN_BYTES:
        return False
    try:
        text = head.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if not is_western(text):
        return False
    if not has_letters(text):
        return True
    words = _WORD.findall(text)
    if all(word.isascii() for word in words) or not any(letter.isascii() for word in words for letter in word):
        return False
    others = [word for word in words if len(word) > 1 and not any(letter.isascii() for letter in word)]
    return not others and _confidence(head, guess) <= WESTERN_FACTOR * _confidence(head, "cp1252")


def _confidence(head: bytes, encoding: str) -> float:
    found = chardet.detect_all(head, ignore_threshold=True, prefer_superset=False, include_encodings=(encoding,))
    return max((float(each["confidence"] or 0) for each in found if each["encoding"] is not None), default=0.0)


def _mixes_scripts(head: bytes, encoding: str) -> bool:
    """Returns whether most letters of another script than Latin stand in words with Latin letters, which is how accents
    look in a wrong encoding.
    """
    letters = mixed = 0
    for word in _WORD.findall(head.decode(encoding, "replace")):
        others = sum(ord(letter) >= _FIRST_OTHER_SCRIPT for letter in word)
        letters += others
        mixed += others if any(letter.isascii() for letter in word) else 0
    return mixed * 2 > letters


def _fits(head: bytes, encoding: str) -> bool:
    """Returns whether the sample is valid in the encoding. The last character may be cut off."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_kana(head: bytes, encoding: str) -> bool:
    """Returns whether the sample is valid in a Japanese encoding and two fifths of it are kana, which chardet takes for
    another script if it is short. The last character may be cut off.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    letters = [letter for letter in text if not letter.isascii()]
    kana = sum("\u3041" <= letter <= "\u30ff" for letter in letters)
    return len(letters) > 1 and kana * 5 >= len(letters) * 2
