"""Cutting a text into chunks of tokens: pure and incremental, so that no text is ever held whole.

    tokens   0        400        800       1200       1600
    chunk 0  ├────────────────────┤
    chunk 1           ├────────────────────┤
    chunk 2                     ├────────────────────┤

Laws: a chunk's text is the file's text from its `start`; chunks begin in order, and together they cover the file; none
has more than `size` tokens; neighbours share `overlap` tokens (less where a character lies across the border, for a
chunk holds whole characters); the last one is never within the one before it.

An embedding model's window may be shorter than a chunk, so a chunk says where its windows begin (`cuts`). Windows are
equal parts of a chunk; with the default sizes neighbours' windows fall together, and each is embedded once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# Tokens of one window at most. MiniLM takes 256 word pieces, of which English has about as many as tokens.
WINDOW = 200
# Characters that are tokenized at once.
STEP = 50_000

ToPieces = Callable[[str], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """`start` in characters of the file's text, `cuts` in characters of the chunk, the first of them 0.

    `page` is the page that the chunk begins on, where the file has pages.
    """

    number: int
    start: int
    text: str
    tokens: int
    cuts: tuple[int, ...]
    page: int | None

    def windows(self) -> Iterator[tuple[int, int]]:
        """Begin and end of each window, in characters of the file."""
        ends = (*self.cuts[1:], len(self.text))
        return ((self.start + a, self.start + b) for a, b in zip(self.cuts, ends, strict=True))


class Chunker:
    """`feed` every piece of the text in order, then `end`; both give the chunks that are whole by then."""

    def __init__(self, to_pieces: ToPieces, size: int, overlap: int) -> None:
        if not 0 <= overlap <= size // 2:
            raise ValueError("the overlap is at most half the size")
        self._to_pieces = to_pieces
        self._size, self._step = size, size - overlap
        self._pieces: list[bytes] = []  # tokens from the next chunk's first one on
        self._text: list[str] = []  # not tokenized yet
        self._waiting = 0
        self._read = 0  # characters fed so far
        self._start = 0  # of the next chunk, in characters
        self._number = 0
        self._pages: list[tuple[int, int | None]] = []  # (first character, page), from the next chunk's page on

    def feed(self, text: str, page: int | None = None) -> list[Chunk]:
        if not self._pages or self._pages[-1][1] != page:
            self._pages.append((self._read, page))
        self._text.append(text)
        self._read += len(text)
        self._waiting += len(text)
        if self._waiting < STEP:
            return []
        self._tokenize()
        return self._whole(last=False)

    def end(self) -> list[Chunk]:
        self._tokenize()
        return self._whole(last=True)

    def _tokenize(self) -> None:
        self._pieces += self._to_pieces("".join(self._text))
        self._text.clear()
        self._waiting = 0

    def _whole(self, *, last: bool) -> list[Chunk]:
        made: list[Chunk] = []
        begin = 0
        while len(self._pieces) - begin > self._size:
            made.append(self._chunk(begin, begin + self._size))
            begin = self._advanced(begin)
        if last and len(self._pieces) > begin:
            made.append(self._chunk(begin, len(self._pieces)))
            begin = len(self._pieces)
        del self._pieces[:begin]
        return made

    def _chunk(self, begin: int, end: int) -> Chunk:
        """The chunk of these tokens, its end moved back out of a character's midst."""
        end = _character(self._pieces, begin, end)
        parts = -(-(end - begin) // WINDOW)
        parts += parts % 2 if parts > 1 else 0  # so that halves, what neighbours share at most, are whole windows
        cuts, text, at = [0], "", begin
        for part in range(1, parts + 1):
            to = end if part == parts else _character(self._pieces, at, begin + (end - begin) * part // parts)
            text += b"".join(self._pieces[at:to]).decode("utf-8", "surrogatepass")
            if to < end and len(text) > cuts[-1]:
                cuts.append(len(text))
            at = to
        while len(self._pages) > 1 and self._pages[1][0] <= self._start:
            del self._pages[0]
        page = self._pages[0][1] if self._pages else None
        made = Chunk(self._number, self._start, text, end - begin, tuple(cuts), page)
        self._number += 1
        return made

    def _advanced(self, begin: int) -> int:
        """Where the chunk after the one that begins there begins."""
        to = _character(self._pieces, begin, begin + self._step)
        passed = b"".join(self._pieces[begin:to]).decode("utf-8", "surrogatepass")
        self._start += len(passed)
        return to


def _character(pieces: Sequence[bytes], low: int, at: int) -> int:
    """`at`, or the last border before it that is not within a character; never `low` itself, see below.

    A character has at most four bytes, so at most three borders in a row are within one; sizes are 100 and more.
    """
    while at > low + 1 and at < len(pieces) and pieces[at] and pieces[at][0] & 0xC0 == 0x80:
        at -= 1
    return at
