"""The contents of prompts, and the parts that are left out if a prompt does not fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.objects import Message, Run, Step
from service.runs import prompt
from service.runs.prompt import Entry, Unit
from tests.events.thread.story import FUNCTION

RUN = Run(
    id="run_1",
    thread_id="thread_1",
    created_at=0,
    assistant_id="asst_1",
    model="gpt-test",
    instructions="Be brief.",
    tools=[],
    tool_resources={},
    metadata={},
    temperature=None,
    top_p=None,
    reasoning_effort=None,
    response_format="auto",
    tool_choice="auto",
    parallel_tool_calls=True,
    truncation_strategy={"type": "auto", "last_messages": None},
    max_prompt_tokens=None,
    max_completion_tokens=None,
    expires_at=600,
)


def message(text: str = "Hi", role: Any = "user", **more: Any) -> Message:
    content = more.pop("content", [{"type": "text", "text": {"value": text, "annotations": []}}])
    return Message("msg_1", "thread_1", 0, role, content, [], {}, **more)


def step(*ids: str, status: Any = "completed", answered: bool = True, run_id: str = "run_0") -> Step:
    calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in ids]
    outputs = {id: f"out {id}" for id in ids} if answered else {}
    return Step("step_1", "thread_1", run_id, "asst_1", 0, 0, "tool_calls", None, calls, status, outputs)


def roles(units: list[Unit]) -> list[list[str]]:
    return [[chat["role"] for chat in unit] for unit in units]


# Contents.


def test_history_comes_in_its_own_order() -> None:
    entries: list[Entry] = [
        (5, step("call_1")),
        (1, message("one")),
        (9, message("two", "assistant")),
        (7, message("three")),
    ]
    units = prompt.history_units(entries, vision=False)
    assert roles(units) == [["user"], ["assistant", "tool"], ["user"], ["assistant"]]


def test_calls_belong_to_the_message_they_came_with() -> None:
    entries: list[Entry] = [(1, message()), (2, message("Let me look.", "assistant")), (3, step("call_1", "call_2"))]
    _, unit = prompt.history_units(entries, vision=False)
    assert [chat["role"] for chat in unit] == ["assistant", "tool", "tool"]
    assert unit[0]["content"] == "Let me look."
    assert [call["id"] for call in unit[0]["tool_calls"]] == [chat["tool_call_id"] for chat in unit[1:]]


def test_two_steps_in_a_row_stay_apart() -> None:
    units = prompt.history_units([(1, message()), (2, step("call_1")), (3, step("call_2"))], vision=False)
    assert roles(units) == [["user"], ["assistant", "tool"], ["assistant", "tool"]]


@pytest.mark.parametrize("left_out", [step("call_1", answered=False), step("call_1", status="cancelled")])
def test_calls_without_outputs_are_left_out(left_out: Step) -> None:
    assert roles(prompt.history_units([(1, message()), (2, left_out)], vision=False)) == [["user"]]


def test_what_a_broken_call_left_is_left_out_and_what_a_cancelled_run_said_is_not() -> None:
    broken = replace(message("Hel", "assistant", status="incomplete"), incomplete_reason="run_failed")
    cancelled = replace(message("Hello", "assistant", status="incomplete"), incomplete_reason="run_cancelled")
    assert prompt.history_units([(1, broken), (2, cancelled)], vision=False) == [
        [{"role": "assistant", "content": "Hello"}]
    ]


def test_several_parts_of_text_are_one_content() -> None:
    text = {"type": "text", "text": {"value": "a", "annotations": []}}
    (unit,) = prompt.history_units(
        [(1, message(content=[text, {"type": "refusal", "refusal": "No."}], role="assistant"))], vision=True
    )
    assert unit == [{"role": "assistant", "content": "a\nNo."}]


def test_images_for_models_that_see_and_a_note_for_those_that_do_not() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}
    entries = [(1, message(content=[{"type": "text", "text": {"value": "What?", "annotations": []}}, image]))]
    ((seen,),) = prompt.history_units(entries, vision=True)
    assert seen["content"] == [{"type": "text", "text": "What?"}, image]
    ((blind,),) = prompt.history_units(entries, vision=False)
    assert blind["content"] == "What?\n[image_url: not shown, this model cannot see images]"


@pytest.mark.parametrize("choice", ["auto", "none", "required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_choice_holds_for_the_first_call_only(choice: Any) -> None:
    run = replace(RUN, tools=[FUNCTION], tool_choice=choice)
    assert prompt.tool_choice(run, 1) == choice
    assert prompt.tool_choice(run, 2) == ("none" if choice == "none" else "auto")
    assert prompt.tool_choice(replace(run, tools=[]), 1) is None


def test_strict_is_passed_on_only_where_asked() -> None:
    named = {"name": "f", "parameters": {}}
    tools = [{"type": "function", "function": {**named, "strict": strict}} for strict in (False, True)]
    run = replace(RUN, tools=[*tools, {"type": "code_interpreter"}])
    hosted = {"code_interpreter": {"description": "Runs Python.", "parameters": {"type": "object"}}}
    assert [tool["function"] for tool in prompt.chat_tools(run, hosted)] == [
        named,
        {**named, "strict": True},
        {"name": "code_interpreter", "description": "Runs Python.", "parameters": {"type": "object"}},
    ]


def test_a_hosted_tool_gives_way_to_a_function_of_its_name() -> None:
    tools: list[dict[str, Any]] = [{"type": "code_interpreter"}]
    tools.append({"type": "function", "function": {"name": "code_interpreter"}})
    hosted = {"code_interpreter": {"description": "", "parameters": {}}}
    names = [tool["function"]["name"] for tool in prompt.chat_tools(replace(RUN, tools=tools), hosted)]
    assert names == ["code_interpreter_2", "code_interpreter"]
    run = replace(RUN, tools=tools, tool_choice={"type": "code_interpreter"})
    assert prompt.tool_choice(run, 1) == {"type": "function", "function": {"name": "code_interpreter_2"}}
    assert prompt.tool_choice(run, 2) == "auto"


def hosted_step(output: str, *, run_id: str = "run_1", **more: Any) -> Step:
    function = {"name": "code_interpreter", "arguments": '{"code": "1"}'}
    calls = [{"id": "call_c", "type": "code_interpreter", "function": function}]
    results = {"call_c": {"shown": {"outputs": []}, "output": output, "files": [], "citations": [], **more}}
    ids = ("step_1", "thread_1", run_id, "asst_1", 0, 0)
    return Step(*ids, "tool_calls", None, calls, "completed", results=results)


def test_hosted_calls_and_what_the_model_was_told_are_history() -> None:
    (unit,) = prompt.history_units([(1, hosted_step("x" * 3000))], vision=False, room=2000)
    function = {"name": "code_interpreter", "arguments": '{"code": "1"}'}
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_c", "type": "function", "function": function}],
    }
    assert unit[0] == asked
    told = unit[1]["content"]
    assert told.startswith("x" * 1000)
    assert told.endswith("x" * 1000)
    assert "[… 1000 characters of this output were cut here …]" in told


def test_a_stopped_call_is_no_history() -> None:
    step = hosted_step("")
    assert prompt.history_units([(1, replace(step, results={"call_c": {"shown": {}}}))], vision=False) == []


@given(st.text(max_size=300), st.integers(0, 100))
def test_cutting_keeps_the_beginning_and_the_end(text: str, room: int) -> None:
    shown = prompt.shorten(text, room)
    if len(text) <= room:
        assert shown == text
    else:
        assert shown.startswith(text[: room - room // 2])
        assert shown.endswith(text[len(text) - room // 2 :])
        assert f" {len(text) - room} characters" in shown


def test_an_assistants_images_are_told_of_in_words() -> None:
    image = {"type": "image_file", "image_file": {"file_id": "file-1"}}
    text = {"type": "text", "text": {"value": "See.", "annotations": []}}
    (unit,) = prompt.history_units([(1, message(role="assistant", content=[image, text]))], vision=True)
    assert unit == [{"role": "assistant", "content": "[1 images, shown to the user]\nSee."}]


# Budget and truncation.


@pytest.mark.parametrize(
    ("window", "limits", "spent", "allowed"),
    [
        (8192, {}, (0, 0), 8192 - 2048),
        (128_000, {}, (0, 0), 128_000 - 4096),
        (8192, {"max_completion_tokens": 500}, (0, 0), 8192 - 500),
        (8192, {"max_completion_tokens": 500}, (0, 400), 8192 - 100),
        (8192, {"max_completion_tokens": 10**6}, (0, 0), 4096),
        (8192, {"max_prompt_tokens": 300}, (0, 0), 300),
        (8192, {"max_prompt_tokens": 300}, (200, 0), 100),
    ],
)
def test_budget(window: int, limits: dict[str, int], spent: tuple[int, int], allowed: int) -> None:
    assert prompt.prompt_budget(window, replace(RUN, **limits), *spent) == allowed  # type: ignore[arg-type]


texts = st.text(max_size=12)
messages = st.builds(
    lambda text, role: [{"role": role, "content": text}], texts, st.sampled_from(["user", "assistant"])
)


def _called_ids(text: str | None, outputs: list[str]) -> Unit:
    calls = [{"id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(len(outputs))]
    answers = [{"role": "tool", "tool_call_id": f"c{n}", "content": output} for n, output in enumerate(outputs)]
    return [{"role": "assistant", "content": text, "tool_calls": calls}, *answers]


steps = st.builds(_called_ids, st.none() | texts, st.lists(texts, min_size=1, max_size=3))
histories = st.lists(messages | steps, max_size=8)


@given(histories, st.integers(-5, 200), texts, texts)
def test_truncation(history: list[Unit], allowed: int, instructions: str, tools: str) -> None:
    head: Unit = [{"role": "system", "content": instructions}]
    kept = prompt.truncate(history, head, tools, allowed, len)
    fixed = prompt.count_unit_tokens(head, len) + len(tools)
    newest = prompt.count_unit_tokens(history[-1], len) if history else 0
    if kept is None:
        assert fixed + newest > allowed
        return
    sizes = [prompt.count_unit_tokens(unit, len) for unit in history]
    assert fixed + sum(prompt.count_unit_tokens(unit, len) for unit in kept) <= allowed  # never over budget
    places = [next(at for at, unit in enumerate(history) if unit is one) for one in kept]
    assert places == sorted(set(places))  # whole units in order, with no call separated from its output
    if history:
        assert places[-1] == len(history) - 1  # the newest is kept
        if len(history) > 1 and fixed + newest + sizes[0] <= allowed:
            assert places[0] == 0  # the first is kept if it fits
        gaps = [(low, high) for low, high in pairwise(places) if high != low + 1]
        assert len(gaps) <= 1  # the dropped units are contiguous, in the middle
        if fixed + sum(sizes) <= allowed:
            assert kept == history


@given(histories, st.integers(0, 300), texts, texts)
def test_what_surely_fits_does_fit(history: list[Unit], allowed: int, instructions: str, tools: str) -> None:
    """A prompt that fits by the upper bound also fits by the count, since a token has at least one byte."""
    head: Unit = [{"role": "system", "content": instructions}]
    if prompt.surely_fits(history, head, tools, allowed, lambda text: len(text.encode())):
        assert prompt.truncate(history, head, tools, allowed, lambda text: len(text.encode())) == history
