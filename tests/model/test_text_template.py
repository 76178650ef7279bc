"""Chunks that differ only in their text are read by a template. The result is that of parsing each of them."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.model import text_template
from service.model.base import ModelEvent, ModelStreamEnd
from service.model.stream_parser import StreamParser
from service.model.text_template import TextTemplate


def chunk(content: str, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return orjson.dumps({"id": "c", "model": "m", "choices": [choice | fields.pop("choice", {})], **fields})


CHUNKS = st.builds(
    chunk,
    st.text(max_size=8) | st.sampled_from(['"content":"a"', "}", '"', "\x00", "content", ""]),
    usage=st.none() | st.just({"prompt_tokens": 1, "completion_tokens": 1}),
    model=st.sampled_from(["m", "n", "", None]),
    note=st.none() | st.just('{"content":"b"}'),
    choice=st.sampled_from([{}, {"finish_reason": "stop"}, {"index": 1}, {"delta": {"role": "assistant"}}]),
)


def events_of(chunks: list[bytes], separator: bytes) -> tuple[list[ModelEvent], int, str]:
    parser = StreamParser(lambda: "call_1")
    events = parser.feed(b"".join(b"data: " + each + separator for each in chunks)) + parser.end()
    return events, parser.chunk_count, repr(parser.failure)


@given(st.lists(CHUNKS, max_size=8), st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n", b" \n\n"]))
def test_the_template_changes_no_result(chunks: list[bytes], separator: bytes) -> None:
    with patch.object(text_template, "MAX_LEARNED", 0):
        expected = events_of(chunks, separator)
    assert events_of(chunks, separator) == expected


def test_the_model_is_that_of_the_last_chunk() -> None:
    chunks = [chunk("a", model="m"), chunk("b", model="n")] * 3
    for count in range(1, 7):
        events, _, failure = events_of([*chunks[:count], b"[DONE]"], b"\n\n")
        end = events[-1]
        assert isinstance(end, ModelStreamEnd), failure
        assert end.model == "mn"[(count - 1) % 2]


def test_a_chunk_of_another_text_fits() -> None:
    template = TextTemplate()
    template.learn(chunk("a"), "a", "m")
    assert template.text_of(chunk(' "b" \u00e9\n')) == ' "b" \u00e9\n'
    assert template.text_of(chunk("b", model="n")) is None
    assert template.text_of(chunk("a").replace(b'"a"', b'"a","role":"b"')) is None
    assert template.text_of(chunk("a").replace(b'"a"', b"1")) is None


def test_a_text_whose_place_is_not_certain_is_not_learned() -> None:
    template = TextTemplate()
    data = orjson.dumps({"model": '"content":"a"', "choices": [{"index": 0, "delta": {"content": "a"}}]})
    template.learn(data.replace(b'\\"', b'"').replace(b'""content":"a""', b'"x","content":"a"'), "a", "m")
    assert template.text_of(data) is None


def test_few_chunks_are_learned() -> None:
    template = TextTemplate()
    for number in range(text_template.MAX_LEARNED + 1):
        template.learn(chunk("a", created=number), "a", "m")
    assert template.text_of(chunk("b", created=text_template.MAX_LEARNED - 1)) == "b"
    assert template.text_of(chunk("b", created=text_template.MAX_LEARNED)) is None
