"""Annotations do not depend on how a text is cut into pieces, and no text is lost."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.runs.annotations import MAX_MARK, Annotator, CitedPassage, KnownMarks, annotate

MARKS = KnownMarks(
    {
        "【4:0†notes.txt】": CitedPassage("file-n", "the quote"),
        "【4:1†Über Käse 🧀.md】": CitedPassage("file-u", ""),
        "【5:0†notes.txt】": CitedPassage("file-5", "another"),
    },
    {
        "/mnt/data/a.csv": "file-a",
        "/mnt/data/a.csv.gz": "file-gz",
        "/mnt/data/my plot.png": "file-p",
        "/mnt/data/a": "file-plain",
    },
)
PIECES = st.sampled_from(
    [
        *MARKS.citations,
        *(f"sandbox:{path}" for path in MARKS.paths),
        "【4:0†source】",
        "【9:9†invented】",
        "sandbox:/mnt/data/none.txt",
        "sandbox:",
        "sand",
        "【",
        "】",
        "4:0†",
        ".",
        "2",
        ".gz",
        "/",
        ")",
        " ",
        "x",
        "🎉",
    ]
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=10)


def feed_in_parts(annotator: Annotator, text: str, places: list[int]) -> list[tuple[str, Any]]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    said: list[tuple[str, Any]] = []
    given_out = 0
    for start, end in pairwise(bounds):
        said += annotator.feed(text[start:end])
        given_out = sum(len(piece) for piece, _ in said)
        assert end - given_out <= MAX_MARK + 1
    return said + annotator.end()


@pytest.mark.slow
@settings(max_examples=400)
@given(TEXTS, CUTS)
def test_cutting_means_nothing_and_nothing_is_lost(text: str, places: list[int]) -> None:
    whole = annotate(text, MARKS)
    annotator = Annotator(MARKS)
    said = feed_in_parts(annotator, text, places)
    assert "".join(piece for piece, _ in said) == text
    assert annotator.annotations == whole == [one for _, one in said if one is not None]
    for one in whole:
        assert text[one["start_index"] : one["end_index"]] == one["text"]
    at = 0
    for piece, one in said:
        if one is not None:
            assert (piece, at) == (
                one["text"],
                one["start_index"],
            )  # each mark is a piece of its own, with its annotation
        at += len(piece)


@given(st.text(), CUTS)
def test_without_marks_everything_passes_at_once(text: str, places: list[int]) -> None:
    annotator = Annotator(KnownMarks())
    assert "".join(piece for piece, _ in feed_in_parts(annotator, text, places)) == text
    assert annotator.annotations == []
    assert Annotator(KnownMarks()).feed("【4:0†") == [("【4:0†", None)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cake【4:0†notes.txt】.", [("【4:0†notes.txt】", "file-n")]),
        ("🎉 käse【4:1†Über Käse 🧀.md】", [("【4:1†Über Käse 🧀.md】", "file-u")]),
        ("as 【5:0†source】 says", [("【5:0†source】", "file-5")]),
        ("【4:2†notes.txt】 and 【4:0†other.txt】 are invented", []),
        ("[csv](sandbox:/mnt/data/a.csv)", [("sandbox:/mnt/data/a.csv", "file-a")]),
        ("It is sandbox:/mnt/data/a.csv.", [("sandbox:/mnt/data/a.csv", "file-a")]),
        ("sandbox:/mnt/data/a.csv.gz", [("sandbox:/mnt/data/a.csv.gz", "file-gz")]),
        ("sandbox:/mnt/data/a.csv2", []),
        ("sandbox:/mnt/data/a_b", []),
        ("(sandbox:/mnt/data/my%20plot.png)", [("sandbox:/mnt/data/my%20plot.png", "file-p")]),
        ("/mnt/data/a.csv", []),
        ("【【4:0†notes.txt】", [("【4:0†notes.txt】", "file-n")]),
        (
            "sandbox:/mnt/data/a.csv sandbox:/mnt/data/a",
            [("sandbox:/mnt/data/a.csv", "file-a"), ("sandbox:/mnt/data/a", "file-plain")],
        ),
    ],
)
def test_what_is_annotated(text: str, found: list[tuple[str, str]]) -> None:
    assert [(one["text"], one[one["type"]]["file_id"]) for one in annotate(text, MARKS)] == found


def test_the_shapes() -> None:
    assert annotate("x【4:0†notes.txt】", MARKS) == [
        {
            "type": "file_citation",
            "text": "【4:0†notes.txt】",
            "start_index": 1,
            "end_index": 16,
            "file_citation": {"file_id": "file-n", "quote": "the quote"},
        }
    ]
    assert annotate("sandbox:/mnt/data/a", MARKS) == [
        {
            "type": "file_path",
            "text": "sandbox:/mnt/data/a",
            "start_index": 0,
            "end_index": 19,
            "file_path": {"file_id": "file-plain"},
        }
    ]


def test_a_mark_longer_than_the_bound_is_text() -> None:
    long = f"【4:0†{'x' * MAX_MARK}】"
    assert annotate(long, KnownMarks({long: CitedPassage("file-1", "")})) == []
    assert Annotator(KnownMarks({"【4:0†a】": CitedPassage("file-1", "")})).feed("【4:0†x" * 5) == [
        ("【4:0†x" * 5, None)
    ]


@pytest.mark.parametrize(
    ("piece", "count"),
    [("【", 256_000), ("【4:0†", 64_000), ("sandbox:", 32_000), ("sandbox:/mnt/data/file-999.cs", 8_000)],
)
def test_the_work_grows_with_the_text_and_not_with_the_marks(piece: str, count: int) -> None:
    """Counts function calls instead of seconds: they were marks times places before."""
    citations = {f"【4:{n}†notes-{n}.txt】": CitedPassage("file-1", "") for n in range(1000)}
    marks = KnownMarks(citations, {f"/mnt/data/file-{n}.csv": "file-2" for n in range(1000)})
    calls = 0

    def count_call(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    text = piece * count
    sys.setprofile(count_call)
    try:
        assert annotate(text, marks) == []
    finally:
        sys.setprofile(None)
    assert calls < 16 * len(text) + 500_000
