"""Recorded outputs are found by the name of the function and its arguments."""

from __future__ import annotations

from typing import Any

from events.objects import Step
from service.forks.recorded_outputs import RecordedOutputs


def step(*calls: tuple[str, str, str | None]) -> Step:
    tool_calls: list[dict[str, Any]] = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments, _) in enumerate(calls)
    ]
    outputs = {f"call_{number}": output for number, (_, _, output) in enumerate(calls) if output is not None}
    return Step("step_1", "thread_1", "run_1", "asst_1", 1, 2, "tool_calls", None, tool_calls, outputs=outputs)


def taken(outputs: RecordedOutputs, name: str, arguments: str) -> str | None:
    return outputs.take({"name": name, "arguments": arguments})


def test_arguments_are_compared_as_json() -> None:
    outputs = RecordedOutputs([step(("f", '{"a": 1, "b": [true]}', "one"), ("f", "broken {", "two"))])
    assert taken(outputs, "f", '{"b":[true],"a":1}') == "one"
    assert taken(outputs, "f", "broken {") == "two"
    assert taken(outputs, "f", '{"a": 2, "b": [true]}') is None
    assert taken(outputs, "f", '{"a": 1, "b": [1]}') is None
    assert taken(outputs, "g", '{"a": 1, "b": [true]}') is None


def test_equal_calls_get_their_outputs_in_order_and_then_the_last() -> None:
    outputs = RecordedOutputs([step(("f", "{}", "one")), step(("f", "{}", "two"))])
    assert [taken(outputs, "f", "{}") for _ in range(3)] == ["one", "two", "two"]


def test_a_call_without_an_output_was_not_recorded() -> None:
    assert taken(RecordedOutputs([step(("f", "{}", None))]), "f", "{}") is None
