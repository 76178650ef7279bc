"""The stream parser: an answer gives the same events, however its bytes are divided into reads."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import call_parser, errors, split_characters, sse_lines, stream_parser
from service.model.base import (
    ModelEvent,
    ModelStreamEnd,
    ModelUsage,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from service.model.errors import to_storable
from service.model.stream_parser import StreamParser
from tests.scripted import calls, chunk, cuts_off, hits_filter, refuses, says

DONE = b"data: [DONE]\n\n"
END = chunk({}, "stop") + DONE


def parser(is_document: bool = False) -> StreamParser:
    ids = (f"call_minted_{n}" for n in itertools.count())
    return StreamParser(lambda: next(ids), model="asked", is_document=is_document)


def parse(*reads: bytes, is_document: bool = False) -> tuple[list[ModelEvent], str | None]:
    """Returns all events of these reads, and the message of the failure."""
    stream = parser(is_document)
    events = [event for read in reads for event in stream.feed(read)]
    events += stream.end()
    return events, stream.failure.message if stream.failure else None


def events_of(*reads: bytes) -> list[ModelEvent]:
    events, failure = parse(*reads)
    assert failure is None
    return events


def failure_of(*reads: bytes) -> str:
    _, failure = parse(*reads)
    assert failure is not None
    return failure


def bytes_of(reply: Any) -> bytes:
    return b"".join(reply.frames)


def tool(**piece: Any) -> bytes:
    return chunk({"tool_calls": [piece]})


def escaped(text: str) -> bytes:
    """Returns a chunk whose content holds this text as it is written in JSON."""
    return b'data: {"choices":[{"delta":{"content":"' + text.encode("utf-8", "surrogateescape") + b'"}}]}\n\n'


def test_text_usage_and_model() -> None:
    assert events_of(bytes_of(says("Hello big world", usage=(9, 3)))) == [
        TextDelta("Hello"),
        TextDelta(" big"),
        TextDelta(" world"),
        ModelStreamEnd("stop", ModelUsage(9, 3), "scripted"),
    ]


def test_each_kind_of_end() -> None:
    assert events_of(bytes_of(cuts_off("a", usage=False))) == [
        TextDelta("a"),
        ModelStreamEnd("length", None, "scripted"),
    ]
    assert events_of(bytes_of(hits_filter("a", usage=False)))[-1] == ModelStreamEnd("content_filter", None, "scripted")
    assert events_of(bytes_of(refuses("No.", usage=False)))[0] == RefusalDelta("No.")
    for said, meant in {"max_tokens": "length", "eos": "stop", "function_call": "stop"}.items():
        assert events_of(chunk({"content": "a"}, said) + DONE)[-1] == ModelStreamEnd(meant, None, "scripted")  # type: ignore[arg-type]


def test_parallel_calls_in_pieces() -> None:
    events = events_of(bytes_of(calls(("f", {"a": 1}), ("g", "{}"), usage=False)))
    assert events == [
        ToolCallDelta(0, "call_scripted_0", "f", ""),
        ToolCallDelta(0, None, None, '{"a"'),
        ToolCallDelta(0, None, None, ":1}"),
        ToolCallDelta(1, "call_scripted_1", "g", ""),
        ToolCallDelta(1, None, None, "{"),
        ToolCallDelta(1, None, None, "}"),
        ModelStreamEnd("tool_calls", None, "scripted"),
    ]


def test_variants_of_tool_calls() -> None:
    end = ModelStreamEnd("tool_calls", None, "scripted")
    whole_without_index = chunk(
        {"tool_calls": [{"id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in (1, 2)]}, "stop"
    )
    assert events_of(whole_without_index + DONE) == [
        ToolCallDelta(0, "c1", "f", "{}"),
        ToolCallDelta(1, "c2", "f", "{}"),
        end,
    ]
    neither = tool(function={"name": "f", "arguments": {"x": 1}}) + tool(function={"name": "g", "arguments": ""})
    assert events_of(neither + END) == [
        ToolCallDelta(0, "call_minted_0", "f", '{"x":1}'),
        ToolCallDelta(1, "call_minted_1", "g", ""),
        end,
    ]
    pieces_without_index = tool(id="c", function={"name": "f", "arguments": "{"}) + tool(function={"arguments": "}"})
    assert events_of(pieces_without_index + END) == [
        ToolCallDelta(0, "c", "f", "{"),
        ToolCallDelta(0, None, None, "}"),
        end,
    ]
    all_index_zero = b"".join(tool(index=0, id=i, function={"name": "f", "arguments": "{}"}) for i in "ab")
    assert events_of(all_index_zero + END) == [ToolCallDelta(0, "a", "f", "{}"), ToolCallDelta(1, "b", "f", "{}"), end]
    id_and_name_each_time = b"".join(tool(index=3, id="a", function={"name": "f", "arguments": p}) for p in "{}")
    assert events_of(id_and_name_each_time + END) == [
        ToolCallDelta(0, "a", "f", "{"),
        ToolCallDelta(0, None, None, "}"),
        end,
    ]
    name_later = tool(index=0, id="a", function={"arguments": "{"}) + tool(index=0, function={"name": "f"})
    assert events_of(name_later + END) == [ToolCallDelta(0, "a", "f", "{"), end]
    old = chunk({"function_call": {"name": "f", "arguments": "{"}}) + chunk({"function_call": {"arguments": "}"}})
    assert events_of(old + chunk({}, "function_call") + DONE) == [
        ToolCallDelta(0, "call_minted_0", "f", "{"),
        ToolCallDelta(0, None, None, "}"),
        end,
    ]


def test_usage_in_any_chunk() -> None:
    counts = {"prompt_tokens": 5, "completion_tokens": 2.0, "prompt_tokens_details": {"cached_tokens": 4}}
    with_reasoning = {**counts, "completion_tokens_details": {"reasoning_tokens": 1, "more": None}}
    assert events_of(chunk({}, "stop", usage=with_reasoning) + DONE)[-1].usage == ModelUsage(5, 2, 4, 1)  # type: ignore[union-attr]
    assert events_of(chunk({}, "stop") + chunk(None, usage={"prompt_tokens": None}) + DONE)[-1] == ModelStreamEnd(
        "stop", ModelUsage(0, 0), "scripted"
    )


def test_comments_reasoning_and_lines_of_all_kinds() -> None:
    noise = b": ping\r\nid: 4\r\nretry: 10\r\n\r\n" + chunk({"reasoning_content": "hm"}) + b"event: message\n"
    stream = parser()
    assert stream.feed(b": keep-alive\n\n") == []
    assert stream.chunk_count == 0
    assert stream.feed(noise) == []
    assert stream.chunk_count == 1
    split_data = b'data: {"choices":[{"delta":\r\ndata:{"content":"x"}}]}\r\n\r\n'
    assert stream.feed(split_data) == [TextDelta("x")]
    parts = [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}, "b"]
    assert stream.feed(chunk({"content": parts})) == [TextDelta("ab")]


def test_an_end_without_newlines_or_done() -> None:
    assert events_of(chunk({"content": "a"}, "stop").rstrip())[-1] == ModelStreamEnd("stop", None, "scripted")
    assert events_of(chunk({"content": "a"}, "stop") + b"data: [DONE]")[-1] == ModelStreamEnd("stop", None, "scripted")


def test_one_json_document_instead_of_a_stream() -> None:
    body = orjson.dumps(calls(("f", {"a": 1}), usage=(1, 2)).message)
    events, failure = parse(body[:20], body[20:], is_document=True)
    assert failure is None
    assert events == [
        ToolCallDelta(0, "call_scripted_0", "f", '{"a":1}'),
        ModelStreamEnd("tool_calls", ModelUsage(1, 2), "scripted"),
    ]
    assert parse(b"<html>", is_document=True)[1] == "The model server sent no chat completion: an HTML page: "
    assert parse(sse_lines.MARK + body, is_document=True) == (events, None)
    pretty = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    assert parse(pretty) == parse(body) == (events, None)


def test_characters_that_postgres_rejects_are_replaced() -> None:
    raw = b'data: {"choices":[{"delta":{"content":"a\\u0000b\\ud800c \\ud83d\\ude00"}}]}\n\n'
    assert events_of(raw + END)[0] == TextDelta("a\ufffdb\ufffdc \U0001f600")
    assert events_of(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n' + END)[0] == TextDelta("\ufffd")


@given(st.text(st.characters(exclude_categories=[])))
def test_storable_text_is_utf8_without_nul(text: str) -> None:
    kept = to_storable(text)
    kept.encode()
    assert "\x00" not in kept
    assert to_storable(kept) == kept


def test_messages_of_failures() -> None:
    said = chunk({"content": "a"})
    assert failure_of(said) == "The model server ended its answer without a finish_reason."
    assert failure_of(chunk({}) + DONE) == "The model server ended its answer without a finish_reason."
    assert failure_of(b"") == failure_of(DONE) == "The model server sent an empty answer."
    assert failure_of(b'data: {"a": 1}\n\n' + DONE) == (
        'The model server sent JSON that is no chat completion: {"a": 1}'
    )
    assert failure_of(said + b"data: {oops\n\n") == "The model server sent malformed JSON: {oops"
    assert failure_of(b"data: [1]\n\n") == "The model server sent a chunk that is no object: [1]"
    assert failure_of(b'data: {"choices":[7]}\n\n') == 'The model server sent a chunk of a wrong shape: {"choices":[7]}'
    assert failure_of(chunk({"content": "a"}, "error") + DONE) == (
        "The model server ended its answer with finish_reason error."
    )
    assert failure_of(tool(index=0, function={"arguments": "{}"}) + END) == (
        "The model server sent a tool call without a name."
    )
    broke = "The model server broke off its answer: "
    assert failure_of(said + b'data: {"error": {"message": "out of\\n memory", "code": 500}}\n\n') == (
        broke + "out of memory"
    )
    assert failure_of(said + b'event: error\ndata: {"message": "gone"}\n\n') == broke + "gone"
    assert failure_of(b"event: error\ndata: plain words\n\n") == broke + "plain words"
    assert failure_of(b'data: {"error": "text"}\n\n') == broke + "text"
    assert failure_of(said + b'error: {"code": 500, "message": "context shift"}\n\n') == broke + "context shift"
    assert failure_of(said + b'{"error": {"message": "bare"}}\n') == broke + "bare"
    assert failure_of(said + b'data: {"object": "error", "message": "vllm", "code": 400}\n\n') == broke + "vllm"
    assert failure_of(said + b'data: {"detail": "Internal Server Error"}\n\n') == broke + "Internal Server Error"
    assert failure_of(b'data: {"choices": [{"error": {"message": "router"}, "finish_reason": "error"}]}\n\n') == (
        broke + "router"
    )


def test_events_before_a_failure_are_returned() -> None:
    events, failure = parse(chunk({"content": "a"}) + b"data: {oops\n\n" + chunk({"content": "b"}))
    assert events == [TextDelta("a")]
    assert failure


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        ({"message": "m", "code": 500}, "server_error", 500),
        ({"message": "m", "code": "rate_limit_exceeded"}, "rate_limit_exceeded", 429),
        ({"message": "m", "type": "rate_limit_error"}, "rate_limit_exceeded", 429),
        ("m", "server_error", None),
    ],
)
def test_errors_in_a_stream_have_a_code(error: Any, code: str, status: int | None) -> None:
    stream = parser()
    stream.feed(b"data: " + orjson.dumps({"error": error}) + b"\n\n")
    assert isinstance(stream.failure, errors.ModelStreamError)
    assert (stream.failure.code, stream.failure.status) == (code, status)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_lines, "MAX_EVENT_BYTES", 200)
    long_line = b'data: "' + b"x" * 200
    assert "an event of more than 200 bytes" in failure_of(long_line)
    assert "an event of more than 200 bytes" in failure_of(b"data: xxxx\n" * 30)
    assert "an event of more than 200 bytes" in failure_of(b"unknown\n" * 30)
    assert "an event of more than 200 bytes" in (parse(b"x" * 201, is_document=True)[1] or "")
    monkeypatch.undo()
    monkeypatch.setattr(stream_parser, "MAX_STREAM_BYTES", 100)
    assert "more than 100 bytes in one answer" in failure_of(b": x\n" * 20, b": x\n" * 20)
    monkeypatch.undo()
    monkeypatch.setattr(call_parser, "MAX_TOOL_CALLS", 2)
    assert "more than 2 tool calls" in failure_of(bytes_of(calls(*[("f", {})] * 3)))
    monkeypatch.undo()
    assert len(failure_of(b"data: " + b"x" * 10_000 + b"\n\n")) < errors.MAX_CAUSE + 100


def test_a_reply_that_does_not_stop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    end = ModelStreamEnd("length", None, "scripted")
    monkeypatch.setattr(stream_parser, "MAX_REPLY", 10)
    endless = chunk({"content": "abcd"}) * 100
    assert events_of(endless) == [TextDelta("abcd"), TextDelta("abcd"), TextDelta("ab"), end]
    assert events_of(chunk({"reasoning_content": "abcd"}) * 100) == [end]
    assert events_of(chunk({"refusal": "abcd"}) * 3)[-1] == end
    arguments = tool(index=0, id="a", function={"name": "f", "arguments": '{"a": "'}) + tool(
        index=0, function={"arguments": "bcdefgh"}
    )
    assert events_of(arguments) == [ToolCallDelta(0, "a", "f", '{"a": "'), ToolCallDelta(0, None, None, "bcd"), end]
    monkeypatch.undo()
    monkeypatch.setattr(stream_parser, "MAX_STREAM_BYTES", 1000)
    assert events_of(chunk({"content": "a"}) + b": x\n" * 100, b": x\n" * 900)[-1] == end


def test_an_answer_without_a_finish_reason() -> None:
    end = ModelStreamEnd("stop", None, "scripted")
    assert events_of(chunk({"content": "a"}) + DONE) == [TextDelta("a"), end]
    assert events_of(chunk({"refusal": "a"}) + b"data: [DONE]") == [RefusalDelta("a"), end]
    call = tool(index=0, id="a", function={"name": "f", "arguments": "{}"})
    assert events_of(call + DONE)[-1] == ModelStreamEnd("tool_calls", None, "scripted")


def test_reasons_of_real_servers() -> None:
    meanings = {"MAX_TOKENS": "length", "model_length": "length", "STOP": "stop", "SAFETY": "content_filter"}
    for said, meant in meanings.items():
        assert events_of(chunk({"content": "a"}, said) + DONE)[-1].reason == meant  # type: ignore[union-attr]
    assert "finish_reason abort" in failure_of(chunk({"content": "a"}, "abort") + DONE)


def test_lines_of_real_servers() -> None:
    said = bytes_of(says("a b", usage=False))
    expected = events_of(said)
    mark = sse_lines.MARK
    assert events_of(mark + said) == events_of(b": comment\n\n" + mark + said) == expected
    for newline in (b"\r", b"\r\n"):
        assert events_of(said.replace(b"\n", newline)) == expected
    assert events_of(said.replace(b"\n\n", b"\n")) == expected, "no blank lines between events"
    assert events_of(said.replace(b"data: ", b"")) == expected, "lines of JSON"
    assert events_of(said.replace(b"data: ", b"event: message\ndata:").replace(b"\n\n", b"\n")) == expected
    usage_in_choice = b'data: {"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3}}]}\n\n'
    assert events_of(usage_in_choice + DONE)[-1].usage == ModelUsage(3, 0)  # type: ignore[union-attr]


def test_a_last_chunk_that_repeats_the_whole_message() -> None:
    """MiniMax's last chunk holds the message that its deltas have built up."""
    said = chunk({"content": "Hel"}) + chunk({"content": "lo"})
    whole = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}]}
    expected = [TextDelta("Hel"), TextDelta("lo"), ModelStreamEnd("stop", None, "scripted")]
    assert events_of(said + b"data: " + orjson.dumps(whole) + b"\n\n" + DONE) == expected
    whole["choices"][0]["delta"] = {}
    assert events_of(said + b"data: " + orjson.dumps(whole) + b"\n\n" + DONE) == expected
    pieces = [b'data: {"choices":[{"message":{"content":"%s"}}]}\n\n' % piece for piece in (b"Hel", b"lo")]
    assert events_of(b"".join(pieces), END)[:2] == expected[:2], "other servers stream pieces of a message"


def test_calls_that_share_an_index_and_have_no_ids() -> None:
    """Gemini numbers all calls 0 and gives them empty ids."""
    end = ModelStreamEnd("tool_calls", None, "scripted")
    first, second = {"name": "f", "arguments": '{"a":1}'}, {"name": "f", "arguments": '{"a":2}'}
    expected = [ToolCallDelta(0, "call_minted_0", **first), ToolCallDelta(1, "call_minted_1", **second), end]
    apart = tool(index=0, id="", function=first) + tool(index=0, id="", function=second)
    assert events_of(apart + END) == expected
    together = [{"index": 0, "function": first}, {"index": 0, "function": second}]
    assert events_of(chunk({"tool_calls": together}) + END) == expected
    same_id = tool(index=0, id="x", function=first) + tool(index=0, id="x", function=second)
    assert [event.index for event in events_of(same_id + END)[:-1]] == [0, 1]  # type: ignore[union-attr]
    without_index = tool(id="x", function=first) + tool(id="x", function=second)
    assert [event.index for event in events_of(without_index + END)[:-1]] == [0, 1]  # type: ignore[union-attr]


def test_a_call_that_is_sent_twice() -> None:
    whole = tool(index=0, id="x", function={"name": "f", "arguments": '{"a":1}'})
    assert events_of(whole + whole + END)[:-1] == [ToolCallDelta(0, "x", "f", '{"a":1}')]
    named_end = tool(index=0, id="x", function={"name": "f", "arguments": ""})
    assert events_of(whole + named_end + END)[:-1] == [ToolCallDelta(0, "x", "f", '{"a":1}')]


def test_more_shapes_of_tool_calls() -> None:
    flat = tool(index=0, id="x", name="f", arguments='{"a":1}')
    assert events_of(flat + END)[0] == ToolCallDelta(0, "x", "f", '{"a":1}')
    alone = chunk({"tool_calls": {"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}})
    assert events_of(alone + END)[0] == ToolCallDelta(0, "x", "f", "{}")
    late_id = tool(index=0, function={"arguments": ""}) + tool(index=0, id="x", function={"name": "f"})
    assert events_of(late_id + END)[0] == ToolCallDelta(0, "x", "f", "")


def test_more_ends_of_streams() -> None:
    end = ModelStreamEnd("stop", None, "scripted")
    for done in (b'data: "[DONE]"\n\n', b"data: [done]\n\n", b"data: DONE\n\n", b"data: '[DONE]'\n\n"):
        assert events_of(chunk({"content": "a"}) + done) == [TextDelta("a"), end]
    assert events_of(chunk({"content": "a"}) + b"data: null\n\n" + DONE) == [TextDelta("a"), end]
    assert failure_of(chunk({"content": "a"}, "null")) == (
        "The model server ended its answer without a finish_reason."
    ), "the word null is no reason"


def test_more_shapes_of_usage() -> None:
    def usage_of(body: object) -> ModelUsage | None:
        end = events_of(chunk({"content": "a"}, "stop") + b"data: " + orjson.dumps(body) + b"\n\n" + DONE)[-1]
        return end.usage  # type: ignore[union-attr]

    assert usage_of({"choices": [], "usage": {"input_tokens": 3, "output_tokens": 4}}) == ModelUsage(3, 4)
    assert usage_of({"choices": [], "usage": {"prompt_tokens": "3", "completion_tokens": "4"}}) == ModelUsage(3, 4)
    assert usage_of({"choices": [], "x_groq": {"usage": {"prompt_tokens": 3}}}) == ModelUsage(3, 0)
    infinite = b'data: {"choices":[],"usage":{"prompt_tokens":Infinity,"completion_tokens":1e999},"x_groq":"x"}\n\n'
    assert events_of(chunk({"content": "a"}, "stop") + infinite)[-1] == ModelStreamEnd(
        "stop", ModelUsage(0, 0), "scripted"
    )


def test_text_in_the_place_of_a_delta() -> None:
    assert events_of(b'data: {"choices":[{"text":"a","finish_reason":"stop"}]}\n\n' + DONE)[0] == TextDelta("a")


def test_characters_that_are_divided_over_chunks() -> None:
    def text_of(*pieces: bytes) -> str:
        return "".join(event.text for event in events_of(*pieces, END) if isinstance(event, TextDelta))

    assert text_of(escaped("a\\ud83d"), escaped("\\ude00b")) == "a\U0001f600b"
    halves = "\U0001f600".encode()
    raw = [half.decode("utf-8", "surrogateescape") for half in (halves[:2], halves[2:3], halves[3:])]
    assert text_of(*map(escaped, raw)) == "\U0001f600"
    assert text_of(escaped("\\ud83d"), escaped("x")) == "\ufffdx"
    assert text_of(escaped("x\\ud83d")) == "x\ufffd"
    refused = b'data: {"choices":[{"delta":{"refusal":"\\ud83d"}}]}\n\n'
    assert events_of(refused + refused.replace(b"d83d", b"de00") + END)[0] == RefusalDelta("\U0001f600")
    call = (
        b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"\\ud83d"}}]}}]}\n\n'
    )
    pieces = events_of(call + call.replace(b"d83d", b"de00") + END)
    assert "".join(piece.arguments for piece in pieces if isinstance(piece, ToolCallDelta)) == "\U0001f600"


@given(st.text(), st.lists(st.integers(0, 200)))
def test_law_characters_survive_any_division_of_their_bytes(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-16-le", "surrogatepass")
    at = sorted({0, len(data), *(2 * (cut % (len(data) // 2 + 1)) for cut in cuts)})
    joiner = split_characters.CharacterJoiner()
    units = (data[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(at))
    assert "".join(map(joiner.feed, units)) + joiner.end() == to_storable(text)


STREAMS = [
    bytes_of(says("Grüße 😀 a b", pieces=["Grü", "ße ", "😀", ""], usage=(3, 4))),
    bytes_of(calls(("f", {"a": "é"}), ("g", {}), text="so")).replace(b"\n", b"\r\n"),
    b": c\n\n" + bytes_of(refuses("Not this")) + b"data: {late\n\n",
    chunk({"content": "a"}) + b"event: error\ndata: {}\n\n",
    b'data: {"choices":[{"delta":\ndata: {"content":"\\ud800"}}]}\n\n' + END.rstrip(),
    sse_lines.MARK + bytes_of(says("a b")).replace(b"\n", b"\r"),
    bytes_of(says("a b")).replace(b"\n\n", b"\n"),
    bytes_of(says("a b")).replace(b"data: ", b""),
    b'{\n "choices": [{"message": {"content": "a"},\r\n "finish_reason": "stop"}]\n}',
    b"<html>\n<title>No</title>",
    escaped("\\ud83d") + escaped("\\ude00") + b"error: {}\n",
]


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 2000)))
def test_law_any_split_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    at = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    assert parse(*(stream[a:b] for a, b in itertools.pairwise(at))) == parse(stream)


@given(st.binary())
def test_law_no_bytes_make_it_raise(data: bytes) -> None:
    parse(data)
    parse(b"data: " + data + b"\n\n")


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "delta", "content", "tool_calls", "function", "index", "id", "name", "usage", "error"]
                ),
                x,
            )
        ),
    )
)
def test_law_no_json_makes_it_raise(body: Any) -> None:
    data = orjson.dumps(body) if not _has_big_integers(body) else b"{}"
    parse(b"data: " + data + b"\n\n")
    parse(b'data: {"choices":[{"delta":' + data + b"}]}\n\n")


def _has_big_integers(body: Any) -> bool:
    """Whether the value contains integers that orjson cannot write."""
    try:
        orjson.dumps(body)
    except TypeError:
        return True
    return False
