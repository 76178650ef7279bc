"""Streams as real servers and the proxies before them write them, beyond `test_stream_parser`."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import orjson
import pytest

from service.model import upstream
from service.model.base import ModelEvent, ModelStreamEnd, TextDelta, ToolCallDelta
from service.model.stream_parser import StreamParser
from tests.clock import LoopClock
from tests.model.conftest import REQUEST, Caller
from tests.model.test_stream_parser import END, tool
from tests.scripted import ScriptedServer, chunk, says
from tests.scripted_replies import BREAK, GATE, HANG

ARGUMENTS = '{"a":1}'
STOP = chunk({}, "stop")


def parse(data: bytes, *names: str, is_document: bool = False) -> list[ModelEvent]:
    """Returns the events of an answer to a request with functions of these names. It must not fail."""
    ids = (f"minted_{n}" for n in itertools.count())
    parser = StreamParser(lambda: next(ids), is_document=is_document, names=names)
    events = [*parser.feed(data), *parser.end()]
    assert parser.failure is None, parser.failure.message
    return events


def text_of(data: bytes, *, is_document: bool = False) -> str:
    events = parse(data, is_document=is_document)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def calls_in(data: bytes, *names: str) -> list[tuple[str, str]]:
    """Returns the name and the arguments of each call."""
    found: dict[int, tuple[str, str]] = {}
    for event in parse(data + END, *names):
        if isinstance(event, ToolCallDelta):
            name, arguments = found.get(event.index, ("", ""))
            found[event.index] = (name + (event.name or ""), arguments + event.arguments)
    return list(found.values())


def said(*pieces: Any) -> bytes:
    return b"".join(chunk({"content": piece}) for piece in pieces) + END


def frame(body: Any) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


@pytest.mark.parametrize(
    "data",
    [
        said("a", "b").replace(b"data: ", b"data: data: "),
        said("a", "b").replace(b"data: ", b" data: "),
        said("a", "b").replace(b"data: ", b"Data: "),
        b"data: ping\n\n" + said("a", "b"),
        b"data: keep-alive\n\n" + said("a", "b"),
        chunk({"content": "a"}).rstrip() + chunk({"content": "b"})[6:] + END,
        chunk({"content": "a"}).rstrip() + b" " + chunk({"content": "b"}) + END,
        chunk({"content": "ab"}).rstrip() + STOP[6:].rstrip() + b"[DONE]\n\n",
        frame({"choices": [{"index": "0", "delta": {"content": "ab"}, "finish_reason": "stop"}]}),
        frame({"choices": [{"index": 0, "delta": "ab", "finish_reason": "stop"}]}),
        frame({"choices": {"index": 0, "delta": {"content": "ab"}, "finish_reason": "stop"}}),
    ],
)
def test_lines_and_chunks_of_other_forms(data: bytes) -> None:
    assert text_of(data) == "ab"


def test_a_number_as_content() -> None:
    assert text_of(said("a", 5)) == "a5"


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\n", b": hi\n\n"])
def test_a_stream_that_is_declared_as_a_document(before: bytes) -> None:
    assert text_of(before + said("a", "b"), is_document=True) == "ab"


def test_a_document_after_white_space() -> None:
    whole = {"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]}
    assert text_of(b"\n\n" + orjson.dumps(whole), is_document=True) == "ab"


def test_names_that_are_repeated_or_divided() -> None:
    pieces = ('{"a"', ":1", "}")
    without_index = b"".join(tool(function={"name": "f", "arguments": piece}) for piece in pieces)
    assert calls_in(without_index, "f") == [("f", ARGUMENTS)]
    first_empty = tool(function={"name": "f", "arguments": ""}) + without_index
    assert calls_in(first_empty, "f") == [("f", ARGUMENTS)]
    other_ids = b"".join(
        tool(index=0, id=f"id{n}", function={"name": "f", "arguments": piece}) for n, piece in enumerate(pieces)
    )
    assert calls_in(other_ids, "f") == [("f", ARGUMENTS)]
    name = [tool(index=0, id="x", function={"name": "get_", "arguments": ""}), tool(index=0, function={"name": "time"})]
    rest = tool(index=0, function={"arguments": ARGUMENTS})
    assert calls_in(name[0] + name[1] + rest, "get_time") == [("get_time", ARGUMENTS)]
    assert calls_in(name[0] + name[1] + rest, "get_", "get_time") == [("get_time", ARGUMENTS)]
    assert calls_in(name[0] + rest, "get_", "get_time") == [("get_", ARGUMENTS)]
    assert calls_in(name[0] + name[1], "get_time") == [("get_time", "")], "held back until the end"
    growing = name[0] + tool(index=0, function={"name": "get_time", "arguments": ""}) + rest
    assert calls_in(growing, "get_time") == [("get_time", ARGUMENTS)]
    again = tool(index=0, id="x", function={"name": "get_time", "arguments": ""}) + tool(
        index=0, function={"name": "get_time", "arguments": ARGUMENTS}
    )
    assert calls_in(again, "get_time", "get_time_zone") == [("get_time", ARGUMENTS)]


def test_two_calls_of_a_function_stay_two() -> None:
    twice = [{"id": id, "function": {"name": "f", "arguments": ARGUMENTS}} for id in ("x", "y")]
    assert calls_in(chunk({"tool_calls": twice}), "f") == [("f", ARGUMENTS)] * 2
    same_index = [{**call, "index": 0} for call in twice]
    assert calls_in(chunk({"tool_calls": same_index}), "f") == [("f", ARGUMENTS)] * 2
    empty = [{"index": 0, "id": id, "function": {"name": "f", "arguments": ""}} for id in ("x", "y")]
    assert calls_in(chunk({"tool_calls": empty}), "f") == [("f", "")] * 2


@pytest.mark.parametrize("name", [" f ", "functions.f", "functions.f:0", "default_api:f", "f"])
def test_a_name_with_a_prefix_is_the_name_of_the_function(name: str) -> None:
    assert calls_in(tool(index=0, id="x", function={"name": name, "arguments": ARGUMENTS}), "f", "g") == [
        ("f", ARGUMENTS)
    ]


def test_an_unknown_name_stays() -> None:
    assert calls_in(tool(index=0, id="x", function={"name": "a.b", "arguments": ARGUMENTS}), "f") == [
        ("a.b", ARGUMENTS)
    ]
    assert calls_in(tool(index=0, id="x", function={"name": "a.f", "arguments": ARGUMENTS}), "a.f", "f") == [
        ("a.f", ARGUMENTS)
    ]


async def test_an_answer_whose_connection_breaks_after_its_end(server: ScriptedServer, caller: Caller) -> None:
    server.script(says("").with_frames(chunk({"content": "ab"}), STOP, BREAK))
    assert [event for event in await caller.call() if isinstance(event, TextDelta)] == [TextDelta("ab")]
    assert len(server.requests) == 1


async def test_an_answer_whose_connection_stays_open_after_its_end(
    clock: LoopClock, server: ScriptedServer, caller: Caller
) -> None:
    """Some servers send no [DONE] and wait for the client to close the connection."""
    end = chunk({"content": "b"}, "stop")
    server.script(says("").with_frames(chunk({"content": "a"}), GATE + "end", end, HANG))
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert list(await anext(stream)) == [TextDelta("a")]
    server.open_gate("end")
    assert list(await anext(stream)) == [TextDelta("b")]
    last = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    clock.skip(upstream.END_S)
    assert isinstance((await last)[-1], ModelStreamEnd)
    await stream.aclose()
    assert len(server.requests) == 1
