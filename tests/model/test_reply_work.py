"""The work for a reply grows with its length, and not with the square of it or with the number of its pieces.

Work is counted: characters that are parsed, and calls of functions. Copies of texts and searches by patterns are not
seen by such counts: their tests have inputs for which quadratic work takes minutes of CPU time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from service.model import object_pieces, sse_lines
from service.model.base import ModelError
from service.model.call_parser import MAX_NAME, CallParser
from service.model.errors import cause_of, excerpt
from service.model.prompted_answer import AnswerParser
from service.model.refusals import read_refusal
from service.model.sse_lines import LineReader, divide
from service.model.stream_chunks import MAX_CONTAINERS, MAX_ITEMS
from service.model.stream_parser import StreamParser
from service.partial_json import CodeInput
from service.runs.call_arguments import ArgumentPieces, object_text
from tests.model.test_stream_parser import END, failure_of, tool
from tests.model.test_stream_quirks import calls_in, frame, text_of

COUNT = 8_000


class CountingJson:
    """Stands for the module orjson, and counts the characters that it parses."""

    JSONDecodeError = orjson.JSONDecodeError

    def __init__(self) -> None:
        self.characters = 0

    def loads(self, text: str | bytes) -> Any:
        self.characters += len(text)
        return orjson.loads(text)


@contextmanager
def bounded_cpu(seconds: float) -> Iterator[None]:
    """Fails if the work in it takes more CPU time of this process."""
    before = time.process_time()
    yield
    assert time.process_time() - before < seconds


def count_calls(work: Callable[[], object]) -> int:
    """Returns the number of functions that the work calls."""
    calls = 0

    def count_call(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def read_pieces(pieces: list[dict[str, Any]], names: tuple[str, ...] = ()) -> None:
    parser = CallParser(lambda: "minted", names)
    for piece in pieces:
        parser.read(piece.get("index"), piece.get("id"), piece["function"], lambda text: text)
    parser.end()


# Pieces of calls that were parsed, joined or searched again for each later piece.
PIECES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "objects that never end": lambda n: [
        {"index": 0, "function": {"name": "f", "arguments": '{"a":{}' if k == 0 else ',"b":{}'}} for k in range(n)
    ],
    "ends without beginnings": lambda n: [{"index": 0, "function": {"name": "f", "arguments": "}"}} for _ in range(n)],
    "objects after an object": lambda n: [
        {"index": 0, "id": "x", "function": {"name": "f", "arguments": '["{}"]}'}} for _ in range(n)
    ],
    "spaces": lambda n: [{"index": 0, "function": {"name": "f", "arguments": " "}} for _ in range(n)],
    "no arguments": lambda n: [{"index": 0, "function": {"name": "f", "arguments": ""}} for _ in range(n)],
    "names without an index": lambda n: [{"function": {"name": "f", "arguments": "{}}"}} for _ in range(n)],
    "parts of a name": lambda n: [{"index": 0, "function": {"name": "f"}} for _ in range(n)],
    "an end in a string": lambda n: [{"index": 0, "function": {"name": "f", "arguments": '{"a":"}'}} for _ in range(n)],
    "the same call again": lambda n: [
        {"index": 0, "id": "x", "function": {"name": "f", "arguments": '{"a":1}'}} for _ in range(n)
    ],
    "many calls by id": lambda n: [
        {"id": f"x{k % 128}", "function": {"name": "f", "arguments": "1"}} for k in range(n)
    ],
}  # fmt: skip


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_pieces_of_tool_calls(pieces: Callable[[int], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    counting = CountingJson()
    monkeypatch.setattr(object_pieces, "orjson", counting)
    given = pieces(COUNT)
    calls = count_calls(lambda: read_pieces(given, ("f", "fffffffffffg")))
    size = sum(len(piece["function"].get("arguments", "")) for piece in given)
    assert counting.characters <= size, "each character of a call is parsed once at most"
    assert calls < 40 * COUNT


def test_arguments_before_their_name() -> None:
    """They are held back until the name comes."""
    pieces = [{"index": 0, "function": {"arguments": "x"}}] * 2_000_000
    with bounded_cpu(30):
        read_pieces([*pieces, {"index": 0, "function": {"name": "f"}}])


def test_names_are_bounded() -> None:
    named = tool(index=0, function={"name": "a" * 2 * MAX_NAME, "arguments": "{}"})
    assert calls_in(named) == [("a" * MAX_NAME, "{}")]
    parts = b"".join(tool(index=0, function={"name": "a" * 100}) for _ in range(2))
    assert calls_in(parts + tool(index=0, function={"arguments": "{}"})) == [("a" * 100, "{}")]


def test_an_object_is_complete_in_spite_of_white_space_after_it() -> None:
    first = tool(index=0, function={"name": "f", "arguments": '{"a":1}'}) + tool(index=0, function={"arguments": "\n"})
    assert calls_in(first + tool(index=0, function={"name": "g", "arguments": "{}"})) == [
        ("f", '{"a":1}\n'),
        ("g", "{}"),
    ]


@pytest.mark.parametrize("text", ['{"a":"}"}', '{"a":"\\"}"}', '{"\\\\":{"b":[{}]}}', ' {"a": "{"} '])
def test_ends_of_objects_in_any_division(text: str) -> None:
    for at in range(len(text) + 1):
        parser = CallParser(lambda: "minted")
        for piece in (text[:at], text[at:]):
            parser.read(0, None, {"name": "f", "arguments": piece}, lambda each: each)
        parser.read(0, None, {"name": "g", "arguments": "{}"}, lambda each: each)
        assert parser.count == 2, text[:at]


@pytest.mark.parametrize("depth", [900, 5_000, 100_000])
def test_nested_contents(depth: int) -> None:
    nested = b"[" * depth + b'"ab"' + b"]" * depth
    chunk = b'data: {"choices":[{"delta":{"content":' + nested + b"}}]}\n\n"
    if depth < 1000:
        assert text_of(chunk + END) == "ab"
    else:
        assert "malformed JSON" in failure_of(chunk + END)


@pytest.mark.parametrize("depth", [300, 900])
@pytest.mark.parametrize("field", ["id", "name", "arguments"])
def test_nested_fields_of_calls(depth: int, field: str) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    fields = {"id": b'"x"', "name": b'"f"', "arguments": b'""', field: nested}
    call = b'{"index":0,"id":%(id)s,"function":{"name":%(name)s,"arguments":%(arguments)s}}' % {
        name.encode(): value for name, value in fields.items()
    }
    chunk = b'data: {"choices":[{"delta":{"tool_calls":[' + call + b"]}}]}\n\n"
    parser = StreamParser(lambda: "minted")
    parser.feed(chunk + END)
    parser.end()
    assert parser.done or parser.failure is not None


@pytest.mark.parametrize("key", ["error", "message", "detail", "x"])
def test_nested_errors(key: str) -> None:
    nested: Any = "words"
    for _ in range(990):
        nested = {key: nested}
    assert "words" in cause_of(nested) or key == "x"
    read_refusal(400, nested)
    for _ in range(300):
        nested = [{key: nested}]
    cause_of(nested)
    failure_of(b'data: {"error": ' + b'{"x":' * 980 + b"1" + b"}" * 980 + b"}\n\n")


def test_contents_of_many_parts() -> None:
    parts = ["a"] * (MAX_ITEMS + 1)
    assert "more than 10000 parts" in failure_of(frame({"choices": [{"delta": {"content": parts}}]}))
    assert text_of(frame({"choices": [{"delta": {"content": parts[:-1]}}]}) + END) == "a" * MAX_ITEMS


@pytest.mark.parametrize("field", ["choices", "tool_calls"])
def test_chunks_of_many_items(field: str) -> None:
    items = [{"index": 1}] * (MAX_ITEMS + 1)
    body = {"choices": items} if field == "choices" else {"choices": [{"delta": {"tool_calls": items}}]}
    assert "more than 10000 items" in failure_of(frame(body))


def test_chunks_of_many_containers() -> None:
    assert "nested" in failure_of(frame({"choices": [], "x": [[]] * MAX_CONTAINERS}))
    assert text_of(frame({"choices": [{"delta": {"content": "[" * MAX_CONTAINERS}}]}) + END) == "[" * MAX_CONTAINERS


def test_events_that_are_never_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = CountingJson()
    monkeypatch.setattr(sse_lines, "orjson", counting)
    data = b'data: {"a": [1, 2, 3,]}\n' + b"event: message\n" * COUNT
    LineReader().feed(data)
    assert counting.characters <= len(data)


def test_byte_order_marks_without_end() -> None:
    with bounded_cpu(10):
        items = LineReader().feed(sse_lines.MARK * 4_000_000 + b'data: {"a":1}\n\n')
    assert [item.data for item in items] == [b'{"a":1}']


def test_marks_of_the_end_without_end() -> None:
    with bounded_cpu(10):
        assert divide(b'{"a":1}' + b"[DONE]" * 1_000_000) == [b'{"a":1}', b"[DONE]"]


def test_documents_without_end() -> None:
    assert divide(b"{}" * (MAX_ITEMS + 1)) == []
    assert len(divide(b"{}" * MAX_ITEMS)) == MAX_ITEMS


def test_calls_of_a_prompted_answer_are_bounded() -> None:
    calls = ",".join('{"name":"f","arguments":{}}' for _ in range(70_000))
    parser = AnswerParser(lambda: "minted")
    with bounded_cpu(10), pytest.raises(ModelError, match="more than 128"):
        parser.feed('{"calls":[' + calls)


@pytest.mark.parametrize(
    "arguments",
    [
        " " * 1_000_000 + "print(1)",
        "{" + '"a":1,' * 300_000 + '"code":"print(1)"}',
        '{"code"' + " " * 1_000_000 + ':"print(1)"}',
    ],
    ids=["spaces", "other fields", "spaces behind the name"],
)
def test_code_behind_other_text(arguments: str) -> None:
    with bounded_cpu(10):
        assert CodeInput().feed(arguments) == "print(1)"


@pytest.mark.parametrize(
    ("piece", "end"), [("[", ""), (" ", '{"a":1}'), ("x", "")], ids=["brackets", "spaces", "letters"]
)
def test_visible_arguments(piece: str, end: str) -> None:
    pieces = ArgumentPieces()
    with bounded_cpu(30):
        for _ in range(1_000_000):
            assert not pieces.feed(piece)
    assert pieces.feed(end) == end


def test_visible_arguments_with_spaces_before_their_first_field() -> None:
    pieces = ArgumentPieces()
    assert [pieces.feed(each) for each in ("", " ", "{", " ", "\n", '"a"', ":1}", "x")] == [
        "", "", "", "", "", '{ \n"a"', ":1}", ""
    ]  # fmt: skip


@pytest.mark.parametrize("character", [" ", "\n", "\t"])
@pytest.mark.parametrize("form", ['{"a":"%s."}', "%s.", '{"a":1%s.', "```json\n%s."])
def test_arguments_with_much_white_space(form: str, character: str) -> None:
    """Small models repeat white space without end."""
    with bounded_cpu(10):
        object_text(form % (character * 500_000))


@pytest.mark.parametrize("part", ["<", "<title", "<html ", "< >", "&"])
def test_pages_of_errors(part: str) -> None:
    with bounded_cpu(10):
        excerpt(b"<html>" + part.encode() * 100_000)


@pytest.mark.parametrize(
    "body",
    [
        [{"param": "temperature"}] * 100_000,
        {f"error{n}": "temperature" for n in range(100_000)},
        {"error": ["x"] * 500_000},
        "'input': " * 100_000,
        "json mode and " * 50_000,
        "{" * 150_000,
        json.dumps({"error": '{"message": "temperature"}'}) * 1000,
        {"errors": [{"errors": [{"errors": [{"param": ["a"] * 1000}] * 10}] * 10}] * 10},
    ],
    ids=range(8),
)
def test_bodies_of_errors(body: Any) -> None:
    with bounded_cpu(3):
        read_refusal(400, body)
        cause_of(body)
