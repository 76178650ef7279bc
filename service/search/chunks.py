"""Cutting a text into document chunks of a fixed number of tokens: pure and incremental, so that no text is held whole.

    tokens   0        400        800       1200       1600
    chunk 0  ├────────────────────┤
    chunk 1           ├────────────────────┤
    chunk 2                     ├────────────────────┤

Laws: a chunk's text is a part of the file's text, from the chunk's `start`; chunks begin in order, and together they
cover the file; no chunk has more than `size` tokens; neighbours share `overlap` tokens (fewer if a character lies
across the border, because a chunk holds whole characters); the last chunk never lies within the chunk before it.

An embedding model's context may be shorter than a chunk. So a chunk is divided into windows of equal length, and `cuts`
holds the beginning of each. With the default sizes the windows of neighbouring chunks coincide, and each window is
embedded once for both chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# Greatest number of tokens in a window. MiniLM takes 256 word pieces, and English has about as many of them as tokens.
WINDOW_TOKENS = 200
# Characters that are collected before they are tokenized.
BUFFER_CHARACTERS = 50_000

# Splits a text into the bytes of its tokens.
Tokenize = Callable[[str], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a document.

    `start` counts characters of the file's text. `cuts` count characters of the chunk's text; the first is 0. `page` is
    the page that the chunk begins on, or None if the file has no pages.
    """

    number: int
    start: int
    text: str
    tokens: int
    cuts: tuple[int, ...]
    page: int | None

    def windows(self) -> Iterator[tuple[int, int]]:
        """Yields the beginning and the end of each window, in characters of the file."""
        ends = (*self.cuts[1:], len(self.text))
        return ((self.start + a, self.start + b) for a, b in zip(self.cuts, ends, strict=True))


class Chunker:
    """Turns pieces of text, passed to `feed` in order and followed by a call of `end`, into chunks.

    Both methods return the chunks that have become complete. Raises ValueError if `overlap` exceeds half of `size`.
    """

    def __init__(self, tokenize: Tokenize, size: int, overlap: int) -> None:
        if not 0 <= overlap <= size // 2:
            raise ValueError("the overlap is at most half the size")
        self._tokenize = tokenize
        self._size, self._step = size, size - overlap
        self._tokens: list[bytes] = []  # from the first token of the next chunk on
        self._buffer: list[str] = []  # text that is not tokenized yet
        self._buffered = 0  # characters in the buffer
        self._read = 0  # characters fed so far
        self._start = 0  # of the next chunk, in characters
        self._number = 0  # of the next chunk
        self._pages: list[tuple[int, int | None]] = []  # (first character, page), from the next chunk's page on

    def feed(self, text: str, page: int | None = None) -> list[Chunk]:
        if not self._pages or self._pages[-1][1] != page:
            self._pages.append((self._read, page))
        self._buffer.append(text)
        self._read += len(text)
        self._buffered += len(text)
        if self._buffered < BUFFER_CHARACTERS:
            return []
        self._flush()
        return self._complete_chunks(last=False)

    def end(self) -> list[Chunk]:
        self._flush()
        return self._complete_chunks(last=True)

    def _flush(self) -> None:
        self._tokens += self._tokenize("".join(self._buffer))
        self._buffer.clear()
        self._buffered = 0

    def _complete_chunks(self, *, last: bool) -> list[Chunk]:
        chunks: list[Chunk] = []
        begin = 0
        while len(self._tokens) - begin > self._size:
            chunks.append(self._next_chunk(begin, begin + self._size))
            begin = self._next_begin(begin)
        if last and len(self._tokens) > begin:
            chunks.append(self._next_chunk(begin, len(self._tokens)))
            begin = len(self._tokens)
        del self._tokens[:begin]
        return chunks

    def _next_chunk(self, begin: int, end: int) -> Chunk:
        """Builds the chunk of these tokens; its end moves back to the border of a character."""
        end = _character_border(self._tokens, begin, end)
        parts = -(-(end - begin) // WINDOW_TOKENS)
        parts += parts % 2 if parts > 1 else 0  # neighbours share at most a half, which must consist of whole windows
        cuts, text, at = [0], "", begin
        for part in range(1, parts + 1):
            to = end if part == parts else _character_border(self._tokens, at, begin + (end - begin) * part // parts)
            text += b"".join(self._tokens[at:to]).decode("utf-8", "surrogatepass")
            if to < end and len(text) > cuts[-1]:
                cuts.append(len(text))
            at = to
        while len(self._pages) > 1 and self._pages[1][0] <= self._start:
            del self._pages[0]
        page = self._pages[0][1] if self._pages else None
        chunk = Chunk(
            number=self._number, start=self._start, text=text, tokens=end - begin, cuts=tuple(cuts), page=page
        )
        self._number += 1
        return chunk

    def _next_begin(self, begin: int) -> int:
        """Returns the first token of the chunk after the one that begins at `begin`, and advances `_start` to it."""
        to = _character_border(self._tokens, begin, begin + self._step)
        skipped = b"".join(self._tokens[begin:to]).decode("utf-8", "surrogatepass")
        self._start += len(skipped)
        return to


def _character_border(tokens: Sequence[bytes], low: int, at: int) -> int:
    """Returns `at`, or the last token before it that begins with a whole character.

    It never returns `low` itself: a character has at most four bytes, so at most three token borders in a row lie
    within a character, and a chunk has 100 tokens or more.
    """
    while at > low + 1 and at < len(tokens) and tokens[at] and tokens[at][0] & 0xC0 == 0x80:
        at -= 1
    return at
