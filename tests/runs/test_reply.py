"""The deltas of a reply add up to the reply in the log."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.thread.state import OpenModelCall
from service.deltas import Delta, MessageTextDelta, StepCallDelta
from service.model.base import ModelEvent, ModelStreamEnd, RefusalDelta, TextDelta, ToolCallDelta
from service.model.errors import to_storable
from service.runs.annotations import KnownMarks
from service.runs.artifacts import RunArtifacts
from service.runs.reply import Reply
from tests.clock import IDS

CALL = OpenModelCall(1, 1, "msg_1", "step_m", "step_t", 1234)
DONE = ModelStreamEnd("stop", None, "m-1")

pieces = st.text(max_size=5)
words = st.builds(TextDelta, pieces) | st.builds(RefusalDelta, pieces)


@st.composite
def calls(draw: st.DrawFn) -> list[ModelEvent]:
    """Draws tool calls with arbitrary numbers, whose pieces are in any order."""
    indexes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True))
    events: list[ModelEvent] = []
    for place, index in enumerate(indexes):
        events.append(ToolCallDelta(index, f"up_{index}", f"f{index}", draw(pieces)))
        for behind in draw(st.lists(st.sampled_from(indexes[: place + 1]), max_size=3)):
            events.append(ToolCallDelta(behind, None, None, draw(pieces)))
    return events


def reply() -> Reply:
    return Reply("run_1", CALL, ids=IDS)


def split(events: list[ModelEvent], sizes: list[int]) -> list[list[ModelEvent]]:
    """Returns the events in batches, like those of network reads."""
    batches, rest = [], events
    for size in sizes:
        batches.append(rest[:size])
        rest = rest[size:]
    return [*batches, rest]


def concatenate(live: list[Delta]) -> tuple[str, str, dict[int, tuple[str, str, str]]]:
    """Concatenates deltas as SDKs do. Returns the text, the refusal, and the calls (id, name, arguments)."""
    text = "".join(item.text for item in live if isinstance(item, MessageTextDelta) and not item.refusal)
    refusal = "".join(item.text for item in live if isinstance(item, MessageTextDelta) and item.refusal)
    found: dict[int, list[str]] = defaultdict(lambda: ["", "", ""])
    for item in live:
        if isinstance(item, StepCallDelta):
            for place, piece in enumerate((item.id or "", item.name or "", item.arguments)):
                found[item.index][place] += piece
    return text, refusal, {index: (id, name, arguments) for index, (id, name, arguments) in found.items()}


@given(st.lists(words), st.lists(st.integers(0, 3), max_size=5))
def test_words(events: list[ModelEvent], sizes: list[int]) -> None:
    made = reply()
    live = [item for batch in split([*events, DONE], sizes) for item in made.add_events(batch)]
    assert concatenate(live) == (made.so_far.text, made.so_far.refusal, {})
    texts = [item for item in live if isinstance(item, MessageTextDelta)]
    assert {(item.run_id, item.step_id, item.created_at) for item in texts} <= {("run_1", "step_m", 1234)}
    assert all(item.text for item in live if isinstance(item, MessageTextDelta))
    assert made.end == DONE


@pytest.mark.slow
@given(calls(), st.lists(st.integers(0, 3), max_size=5))
def test_tool_calls(events: list[ModelEvent], sizes: list[int]) -> None:
    made = reply()
    live = [item for batch in split(events, sizes) for item in made.add_events(batch)]
    said = {index: (call["id"], call["name"], call["arguments"]) for index, call in enumerate(made.so_far.tool_calls)}
    text, refusal, seen = concatenate(live)
    assert (text, refusal) == ("", "")
    assert {index: call[:2] for index, call in seen.items()} == {index: call[:2] for index, call in said.items()}
    assert all(isinstance(orjson.loads(arguments), dict) for _, _, arguments in said.values())
    assert {item.step_id for item in live} == {"step_t"}
    # The reply has ids of its own, because upstreams repeat theirs.
    assert all(id.startswith("call_") and len(id) == 29 for id, _, _ in said.values())
    assert len({id for id, _, _ in said.values()}) == len(said)


@pytest.mark.slow
@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=9) | st.integers()), st.lists(st.integers(0, 60), max_size=6)
)
def test_watchers_see_the_arguments_of_functions(value: dict[str, Any], places: list[int]) -> None:
    arguments = json.dumps(value)
    bounds = sorted({0, len(arguments), *(place % (len(arguments) + 1) for place in places)})
    cut = [arguments[start:end] for start, end in pairwise(bounds)]
    made = reply()
    live = made.add_events([calls_in(0, "f", ""), *(calls_in(0, None, piece) for piece in cut)])
    (call,) = made.so_far.tool_calls
    assert call["arguments"] == arguments
    assert concatenate(live)[2][0][2] == (arguments if value else "")


@pytest.mark.slow
@given(st.lists(words, min_size=1), calls())
def test_calls_behind_words_are_held_back(first: list[ModelEvent], then: list[ModelEvent]) -> None:
    """While the message's step is open, no other step may be shown."""
    made = reply()
    live = [*made.add_events(first), *made.add_events(then)]
    spoke = bool(made.so_far.text or made.so_far.refusal)
    assert any(isinstance(item, StepCallDelta) for item in live) != spoke
    assert len(made.so_far.tool_calls) >= 1


@pytest.mark.slow
@given(calls(), st.lists(words))
def test_words_behind_calls_are_held_back(first: list[ModelEvent], then: list[ModelEvent]) -> None:
    made = reply()
    live = [*made.add_events(first), *made.add_events(then)]
    assert not any(isinstance(item, MessageTextDelta) for item in live)
    assert made.so_far.text == "".join(event.text for event in then if isinstance(event, TextDelta))


def test_nothing_said() -> None:
    made = reply()
    assert made.add_events([TextDelta(""), DONE]) == []
    assert made.so_far.is_empty


HOSTED: dict[str, dict[str, Any]] = {
    "code_interpreter": {"type": "code_interpreter"},
    "file_search": {
        "type": "file_search",
        "file_search": {"ranking_options": {"ranker": "r", "score_threshold": 0.0, "hybrid_search": None}},
    },
}


def calls_in(index: int, name: str | None, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(index, name and "up", name, arguments)


@pytest.mark.slow
@given(st.text(max_size=20), st.lists(st.integers(0, 40), max_size=6))
def test_watchers_read_the_code_and_the_log_keeps_what_was_called(code: str, places: list[int]) -> None:
    arguments = orjson.dumps({"code": to_storable(code)}).decode()
    made = Reply("run_1", CALL, ids=IDS, hosted=HOSTED)
    bounds = sorted({0, len(arguments), *(place % len(arguments) for place in places)})
    pieces = [arguments[start:end] for start, end in pairwise(bounds)]
    events: list[ModelEvent] = [calls_in(0, "code_interpreter", ""), *(calls_in(0, None, piece) for piece in pieces)]
    live = made.add_events(events)
    assert all(isinstance(item, StepCallDelta) and item.kind == "code_interpreter" for item in live)
    assert concatenate(live)[2][0][2] == to_storable(code)
    (said,) = made.so_far.tool_calls
    assert (said["name"], said["arguments"], said["type"]) == ("code_interpreter", arguments, "code_interpreter")


def test_a_search_shows_its_ranking_once_and_never_its_arguments() -> None:
    made = Reply("run_1", CALL, ids=IDS, hosted=HOSTED)
    live = made.add_events(
        [calls_in(0, "file_search", '{"que'), calls_in(0, None, 'ries": ["q"]}'), calls_in(1, "f", "{}")]
    )
    ranking = {"ranking_options": {"ranker": "r", "score_threshold": 0.0}}
    first, second = live
    assert isinstance(first, StepCallDelta)
    assert (first.kind, first.search, first.arguments) == ("file_search", ranking, "")
    assert isinstance(second, StepCallDelta)
    assert (second.kind, second.index, second.name) == ("function", 1, "f")
    search, function = made.so_far.tool_calls
    assert (search["type"], search["file_search"], search["arguments"]) == (
        "file_search",
        ranking,
        '{"queries": ["q"]}',
    )
    assert "type" not in function


def test_annotations_images_and_files_come_with_the_words() -> None:
    attachments = [{"file_id": "file-2", "tools": [{"type": "code_interpreter"}]}]
    brought = RunArtifacts(KnownMarks(paths={"/mnt/data/a.csv": "file-2"}), ["file-1"], attachments)
    made = Reply("run_1", CALL, ids=IDS, artifacts=brought)
    live = made.add_events([TextDelta("See "), TextDelta("sandbox:/mnt/"), TextDelta("data/a.csv"), DONE])
    assert all(isinstance(item, MessageTextDelta) for item in live)
    assert [(item.text, item.annotation is not None, item.images) for item in live] == [  # type: ignore[union-attr]
        ("See ", False, ("file-1",)),
        ("sandbox:/mnt/data/a.csv", True, ()),
    ]
    said = made.so_far
    assert [one["text"] for one in said.annotations] == ["sandbox:/mnt/data/a.csv"]
    assert (said.images, said.attachments) == (["file-1"], attachments)


def test_what_is_held_back_is_said_all_the_same() -> None:
    made = Reply("run_1", CALL, ids=IDS, artifacts=RunArtifacts(KnownMarks(paths={"/mnt/data/a.csv": "file-2"})))
    assert [item.text for item in made.add_events([TextDelta("See sandbox:/m")])] == ["See "]  # type: ignore[union-attr]
    assert (made.so_far.text, made.so_far.annotations) == ("See sandbox:/m", [])
