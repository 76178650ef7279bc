"""The laws of chunking, for any text, any sizes and any division of the text into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.tokens import Tokens
from service.search import chunks
from service.search.chunks import WINDOW_TOKENS, Chunk, Chunker

TOKENS = Tokens()
TEXTS = st.one_of(
    st.text(max_size=3000),
    st.lists(st.sampled_from(["word ", "naïve ", "日本語", "🙂", "👩‍👩‍👧", "\n\n", "x" * 40, "ß"]), max_size=900).map(
        "".join
    ),
)


def pieces(text: str) -> list[bytes]:
    return TOKENS.token_bytes("cl100k_base", text)


def cut(text: str, size: int, overlap: int, step: int = 700) -> list[Chunk]:
    chunker = Chunker(pieces, size, overlap)
    complete = [chunk for at in range(0, len(text), step) for chunk in chunker.feed(text[at : at + step])]
    return complete + chunker.end()


@pytest.mark.slow
@given(
    text=TEXTS,
    size=st.integers(100, 300),
    share=st.floats(0, 0.5),
    step=st.integers(1, 5000),
    slab=st.integers(1, 4000),
)
def test_chunks_cover_the_text(text: str, size: int, share: float, step: int, slab: int) -> None:
    text = text.encode("utf-8", "replace").decode()
    overlap = int(size * share)
    before, chunks.BUFFER_CHARACTERS = chunks.BUFFER_CHARACTERS, slab
    try:
        result = cut(text, size, overlap, step)
    finally:
        chunks.BUFFER_CHARACTERS = before
    covered = 0
    for number, chunk in enumerate(result):
        assert chunk.number == number
        assert text[chunk.start : chunk.start + len(chunk.text)] == chunk.text, "a chunk is a part of its file"
        assert 0 < chunk.tokens <= size
        assert chunk.start <= covered, "there are no gaps between chunks"
        assert chunk.start + len(chunk.text) > covered, "no chunk lies within the chunks before it"
        covered = chunk.start + len(chunk.text)
        spans = list(chunk.windows())
        assert (spans[0][0], spans[-1][1]) == (chunk.start, covered)
        assert all(a[1] == b[0] and a[0] < a[1] for a, b in pairwise(spans))
        assert all(len(pieces(text[a:b])) <= WINDOW_TOKENS + 8 for a, b in spans)
    assert covered == len(text)


def test_chunks_of_the_default_sizes_share_their_windows() -> None:
    text = " ".join(f"number {n} of many" for n in range(2000))
    result = cut(text, 800, 400)
    assert [chunk.tokens for chunk in result[:-1]] == [800] * (len(result) - 1)
    assert len(result) == -(-(len(pieces(text)) - 400) // 400)
    spans = [set(chunk.windows()) for chunk in result]
    assert all(len(a & b) == 2 for a, b in pairwise(spans[:-1]))
    assert result[1].text[: len(result[1].text) // 3] in result[0].text


def test_a_chunk_has_the_page_that_it_begins_on() -> None:
    chunker = Chunker(pieces, 100, 0)
    pages = [f"page {page}. " * 60 for page in range(1, 8)]
    result = [chunk for page, text in enumerate(pages, 1) for chunk in chunker.feed(text, page)] + chunker.end()
    assert [chunk.page for chunk in result] == [1 + chunk.start // len(pages[0]) for chunk in result]
    assert len({chunk.page for chunk in result}) == 7


def test_short_texts() -> None:
    assert cut("", 800, 400) == []
    assert [(chunk.text, chunk.tokens, chunk.cuts) for chunk in cut("one line", 800, 400)] == [("one line", 2, (0,))]
    with pytest.raises(ValueError, match="half"):
        Chunker(pieces, 100, 51)
