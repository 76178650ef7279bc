"""The result of a search for the model and for the step: the same passages, as many as fit."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.runs.annotations import CitedPassage, KnownMarks, annotate
from service.search.base import Hit
from service.tools.base import HostedCall, HostedRun
from service.tools.file_search import MAX_INJECTED_SMALL, MIN_PASSAGE, build_result
from service.tools.quotes import MAX_QUOTE, quote


def call(*, room: int = 50_000, number: int = 0, model: str = "gpt-4o") -> HostedCall:
    run = HostedRun("proj", "thread_1", "run_1", model, 128_000, {"type": "file_search"}, {}, {})
    return HostedCall("call_1", run, {"queries": ["tides"]}, number, 1, room)


def hit(text: str, filename: str = "tides.txt", **more: Any) -> Hit:
    return Hit("vs_1", "file-1", filename, 0.75, {"year": 2024}, text, position=0, **more)


def test_passages_come_with_markers_and_are_shown_as_they_were_told() -> None:
    result = build_result(call(number=2), ["tides"], [hit("High at six."), hit("Low at noon.", "b.pdf", page=3)])
    assert result.text == "【6:0†tides.txt】\nHigh at six.\n\n【6:1†b.pdf】 (page 3)\nLow at noon.\n"
    assert result.results[0] == {
        "file_id": "file-1",
        "file_name": "tides.txt",
        "score": 0.75,
        "attributes": {"year": 2024},
        "content": [{"type": "text", "text": "High at six."}],
    }
    assert [(one.marker, one.file_id, one.quote) for one in result.citations] == [
        ("【6:0†tides.txt】", "file-1", "High at six."),
        ("【6:1†b.pdf】", "file-1", "Low at noon."),
    ]
    marks = KnownMarks({one.marker: CitedPassage(one.file_id, one.quote) for one in result.citations})
    assert [one["file_citation"]["file_id"] for one in annotate("At six【6:0†tides.txt】【6:9†x】.", marks)] == [
        "file-1"
    ]


def test_file_names_cannot_break_markers() -> None:
    result = build_result(call(), ["x"], [hit("text", "a†b】【4:0\n.txt")])
    assert result.citations[0].marker == "【4:0†a_b__4:0_.txt】"
    assert result.results[0]["file_name"] == "a†b】【4:0\n.txt"


def test_nothing_found_and_files_that_are_late() -> None:
    assert build_result(call(), ["x"], []).text == "Nothing was found."
    late = build_result(call(), ["x"], [], late=True).text
    assert late.startswith("Some files are still being indexed")


@given(room=st.integers(0, 20_000), sizes=st.lists(st.integers(1, 4000), max_size=20))
def test_no_more_is_told_than_there_is_room_for(room: int, sizes: list[int]) -> None:
    hits = [hit("x" * size) for size in sizes]
    result = build_result(call(room=room), ["x"], hits)
    assert len(result.text) <= max(room, 100)
    shown = [one["content"][0]["text"] for one in result.results]
    assert all(text in result.text and text for text in shown)
    assert all(len(text) >= min(size, MIN_PASSAGE) for text, size in zip(shown, sizes, strict=False))


def test_small_models_are_told_less() -> None:
    hits = [hit("x" * 3000) for _ in range(20)]
    small = build_result(call(model="gpt-3.5-turbo"), ["x"], hits)
    assert len(small.text) <= MAX_INJECTED_SMALL
    assert len(small.results) < len(build_result(call(), ["x"], hits).results)


def test_quotes_are_the_sentences_that_have_most_of_what_was_asked() -> None:
    text = "The harbour is old. Its bridge opens at six. Tickets cost two crowns.\nNobody swims in winter."
    assert quote(text, ["When does the bridge open?"]) == "The harbour is old. Its bridge opens at six."
    assert quote("no sentence " * 100, ["else"]).startswith("no sentence")
    long = "word " * 200 + "The bridge opens at six."
    assert quote(long, ["bridge opening"]).endswith("The bridge opens at six.")


@given(text=st.text(max_size=2000), query=st.text(max_size=50))
def test_a_quote_stands_in_its_text(text: str, query: str) -> None:
    found = quote(text, [query])
    assert found in text
    assert len(found) <= MAX_QUOTE
