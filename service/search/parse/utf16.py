"""UTF-16 and UTF-32 without a byte order mark."""

from __future__ import annotations

# Bytes that the test for UTF-16 without a byte order mark reads, and the share of characters that are usual in text.
UTF16_SAMPLE, UTF16_SHARE = 4096, 0.95
# The characters of common words in Chinese, Japanese and Korean, by an encoding and the range of their first bytes.
# Bytes of another encoding seldom hit characters of one set only.
_COMMON_SETS = (
    ("gb2312", b"\xb0", b"\xd7"),
    ("shift_jis", b"\x88", b"\x98"),
    ("big5", b"\xa4", b"\xc6"),
    ("euc_kr", b"\xb0", b"\xfd"),
)
_WHOLE_SETS = (("gb2312", b"\x80", b"\xff"), ("shift_jis", b"\x80", b"\xff"))
_UNIT = {"utf-16": 2, "utf-32": 4}
# Texts of which more bytes are letters of ASCII are in another encoding than UTF-16.
UTF16_MAX_LETTERS, UTF16_COMMON = 0.6, 0.9


def utf16_encoding(head: bytes) -> str | None:
    """Returns the form of UTF-32 or UTF-16 in which nearly all characters of the sample are usual, if there is one."""
    found: list[tuple[int, str]] = []
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = head[: min(UTF16_SAMPLE, len(head)) & -_UNIT[encoding[:6]]].decode(encoding, "replace")
        if len(text) > 1 and sum(map(_is_usual, text)) >= UTF16_SHARE * len(text):
            found.append((sum(map(str.isascii, text)), encoding))
    return max(found)[1] if found else None


def east_asian_utf16(head: bytes) -> str | None:
    """Returns the form of UTF-16 of a sample without the byte 0: Chinese, Japanese or Korean without spaces."""
    sample = head[:UTF16_SAMPLE]
    if sum(byte < 128 and chr(byte).isalpha() for byte in sample) > UTF16_MAX_LETTERS * len(sample):
        return None
    best: tuple[float, str | None] = UTF16_COMMON, None
    for encoding in ("utf-16-le", "utf-16-be"):
        text = [letter for letter in sample[: len(sample) & ~1].decode(encoding, "replace") if not _is_mark(letter)]
        common = max(
            sum(_is_common(letter, name, first, last) for letter in text) for name, first, last in _COMMON_SETS
        )
        if len(text) > 1 and common >= best[0] * len(text):
            best = common / len(text) + 0.001, encoding
    return best[1]


def _is_usual(letter: str) -> bool:
    """Returns whether texts of any language are likely to hold the character."""
    code = ord(letter)
    if code < 0x1100:
        return letter.isprintable() or letter in "\t\r\n"
    if _is_mark(letter) or 0x3040 <= code <= 0x30FF:
        return letter.isprintable() or letter == "\u3000"
    if not (0x4E00 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7A3):
        return 0x1E00 <= code <= 0x1FFF or code > 0x1F000
    return any(_is_common(letter, name, first, last) for name, first, last in (*_COMMON_SETS, *_WHOLE_SETS))


def _is_mark(letter: str) -> bool:
    return "\u2010" <= letter <= "\u20bf" or "\u3000" <= letter <= "\u303f" or "\uff00" <= letter <= "\uffef"


def _is_common(letter: str, encoding: str, first: bytes, last: bytes) -> bool:
    """Returns whether the character is in a range of an encoding. Kana are in every text of Japanese."""
    if "\u3041" <= letter <= "\u30ff":
        return encoding == "shift_jis"
    stored = letter.encode(encoding, "ignore")
    return len(stored) == 2 and first <= stored[:1] <= last
