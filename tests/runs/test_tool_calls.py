"""Hosted tools in runs below HTTP: executor and supervisor over a real Postgres, with a fake model and tool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from events.objects import Run, Step
from events.thread.commands import DeleteThread
from events.thread.events import ToolCallFinished, ToolCallStarted, ToolCallStopped
from events.thread.run_status import TERMINAL
from projections import steps
from projections.rebuild import verify
from service.deltas import StepOutputDelta
from service.model.base import ModelStreamEnd, ToolCallDelta
from service.runs import claim, supervisor, tool_calls
from service.runs.tool_output import MAX_OUTPUTS, cut_note, step_fields
from service.storage.base import StorageError
from service.telemetry.metrics import Metrics
from service.tools.base import (
    MAX_SEEN,
    MAX_SHOWN,
    Citation,
    HostedCall,
    ImagePiece,
    LogPiece,
    ProducedFile,
    ToolResult,
    ToolUnusable,
)
from tests.events.thread.story import FUNCTION
from tests.projections.helpers import ORIGIN
from tests.runs.fake_model import USAGE, FakeModel, Hold, Script, asks, says, uses
from tests.runs.fake_tool import FakeTool, logs
from tests.runs.process import CountingWriter, Process, texts

THREAD = "t1"
CODE = {"type": "code_interpreter"}
RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}
SEARCH = {"type": "file_search", "file_search": {"ranking_options": RANKING}}
ONE = '{"code": "1 + 1"}'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RETRY_AFTER_S", 0.01)


async def turn(process: Process, *tools: dict[str, Any], **settings: Any) -> Run:
    await process.say(THREAD, "Hi")
    await process.begin(THREAD, tools=tools or (CODE,), **settings)
    return await process.wait_until_settled(THREAD)


async def calls_of(process: Process) -> list[Step]:
    return [step for step in await process.steps(THREAD) if step.type == "tool_calls"]


async def ends(process: Process) -> list[ToolCallFinished]:
    return [entry.event for entry in await process.log(THREAD) if isinstance(entry.event, ToolCallFinished)]


async def test_a_tool_turn(database_url: str) -> None:
    model, tool = FakeModel(None, uses("code_interpreter", ONE), says("It is 2.")), FakeTool()
    async with Process(database_url, model, tools=[tool]) as process:
        metrics = Metrics()
        process.feed.listen_to_threads(metrics)
        made = await turn(process)
        assert made.status == "completed"
        (call,) = tool.calls
        assert (call.arguments, call.number, call.attempt) == ({"code": "1 + 1"}, 0, 1)
        assert (call.run.thread_id, call.run.run_id, call.run.settings) == (THREAD, made.id, CODE)
        assert call.room == call.run.window == 8192
        (step,) = await calls_of(process)
        assert step.status == "completed"
        assert step.results[call.id]["shown"] == {"outputs": [{"type": "logs", "logs": "2"}]}
        assert texts(await process.messages(THREAD))[-1] == ("assistant", "It is 2.")
        assert isinstance(process.writer, CountingWriter)
        assert process.writer.appends[3:] == [
            ["model_call.finished", "step.created", "tool_call.started"],
            ["tool_call.finished", "step.ended"],
            ["model_call.started"],
            ["model_call.finished", "step.created", "message.written", "step.ended", "run.completed"],
        ]
        assert (made.usage or {})["prompt_tokens"] == 20
        assert [(step.usage or {})["prompt_tokens"] for step in await process.steps(THREAD)] == [10, 10]
        assert metrics.tool_calls == {"finished": 1}
        async with process.pool.acquire() as db:
            assert await verify(db, THREAD) == []


async def test_the_model_sees_a_function_and_then_its_output(database_url: str) -> None:
    model, tool = FakeModel(None, uses("code_interpreter", ONE), says("2.")), FakeTool(brief="Files: a.csv")
    async with Process(database_url, model, tools=[tool]) as process:
        await turn(process, tool_choice=CODE)
        first, second = model.requests
        (declared,) = first.tools
        function = {"name": "code_interpreter", "description": tool.description, "parameters": tool.parameters}
        assert declared == {"type": "function", "function": function}
        named = {"type": "function", "function": {"name": "code_interpreter"}}
        assert (first.tool_choice, second.tool_choice) == (named, "auto")
        assert first.messages[0] == {"role": "system", "content": "Be brief.\n\nFiles: a.csv"}
        asked, told = second.messages[-2:]
        assert asked["tool_calls"][0]["function"] == {"name": "code_interpreter", "arguments": ONE}
        assert told == {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "2"}
        assert [run.thread_resources for run in tool.runs] == [{}, {}]


async def test_history_holds_it_for_the_next_run(database_url: str) -> None:
    model = FakeModel(None, uses("code_interpreter", ONE), says("2."), says("Again: 2."))
    async with Process(database_url, model, tools=[FakeTool()]) as process:
        await turn(process)
        await process.begin(THREAD, run_id="run_next", tools=(CODE,))
        assert (await process.wait_until_settled(THREAD, "run_next")).status == "completed"
        roles = [message["role"] for message in model.requests[-1].messages]
        assert roles == ["system", "user", "assistant", "tool", "assistant"]


async def test_calls_of_one_reply_run_in_order_and_functions_wait(database_url: str) -> None:
    mixed: Script = [
        [
            ToolCallDelta(0, "a", "weather", "{}"),
            ToolCallDelta(1, "b", "code_interpreter", '{"code": "a"}'),
            ToolCallDelta(2, "c", "code_interpreter", '{"code": "b"}'),
        ],
        [ModelStreamEnd("tool_calls", USAGE, "m-1")],
    ]
    tool = FakeTool(answer=lambda call: [logs(call.arguments["code"] * 2)])
    async with Process(database_url, FakeModel(None, mixed, says("Done.")), tools=[tool]) as process:
        made = await turn(process, CODE, FUNCTION)
        assert made.status == "requires_action"
        assert [call["function"]["name"] for call in made.required_calls or ()] == ["weather"]
        assert [(call.arguments["code"], call.number) for call in tool.calls] == [("a", 0), ("b", 1)]
        (step,) = await calls_of(process)
        assert [step.results[call["id"]]["output"] for call in step.tool_calls[1:]] == ["aa", "bb"]
        await process.answer(made)
        assert (await process.wait_until_settled(THREAD)).status == "completed"
        assert [m["content"] for m in process.model.requests[-1].messages if m["role"] == "tool"][1:] == ["aa", "bb"]
        assert len(tool.calls) == 2


async def test_images_files_and_annotations_reach_the_message(database_url: str) -> None:
    result = ToolResult(
        "made",
        outputs=[{"type": "logs", "logs": "x"}, {"type": "image", "image": {"file_id": "file-i"}}],
        files=[ProducedFile("file-c", "/mnt/data/a.csv")],
    )
    first, later = says("See sandbox:/mnt/da", "ta/a.csv."), says("Still sandbox:/mnt/data/a.csv")
    script = (uses("code_interpreter", ONE), first, later)
    tool = FakeTool(answer=lambda _: [result])
    async with Process(database_url, FakeModel(None, *script), tools=[tool]) as process:
        await turn(process)
        message = (await process.messages(THREAD))[-1]
        image, text = message.content
        assert image == {"type": "image_file", "image_file": {"file_id": "file-i"}}
        (annotation,) = text["text"]["annotations"]
        assert (annotation["text"], annotation["file_path"]) == ("sandbox:/mnt/data/a.csv", {"file_id": "file-c"})
        assert message.attachments == [{"file_id": "file-c", "tools": [{"type": "code_interpreter"}]}]
        # The text of a later run is annotated too, but its message has neither the image nor the file.
        await process.begin(THREAD, run_id="run_next", tools=(CODE,))
        await process.wait_until_settled(THREAD, "run_next")
        message = (await process.messages(THREAD))[-1]
        assert [len(part["text"]["annotations"]) for part in message.content] == [1]
        assert message.attachments == []


async def test_citations(database_url: str) -> None:
    found = {"file_id": "file-n", "file_name": "notes.txt", "score": 0.5, "attributes": {}}
    whole = {**found, "content": [{"type": "text", "text": "cake"}]}
    cited = Citation("【4:0†notes.txt】", "file-n", "cake")
    result = ToolResult("【4:0†notes.txt】 cake", results=[whole], citations=[cited])
    model = FakeModel(None, uses("file_search", '{"queries": ["q"]}'), says("Cake【4:0†no", "tes.txt】, 【9:9†x】."))
    tool = FakeTool("file_search", lambda call: [result])
    async with Process(database_url, model, tools=[tool]) as process:
        await turn(process, SEARCH)
        assert tool.calls[0].arguments == {"queries": ["q"]}
        (step,) = await calls_of(process)
        assert step.tool_calls[0]["file_search"] == {
            "ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}
        }
        assert step.results[tool.calls[0].id]["shown"] == {"results": [whole]}
        (part,) = (await process.messages(THREAD))[-1].content
        (annotation,) = part["text"]["annotations"]
        assert annotation["file_citation"] == {"file_id": "file-n", "quote": "cake"}
        assert part["text"]["value"] == "Cake【4:0†notes.txt】, 【9:9†x】."


async def test_watchers_see_outputs_as_they_come(database_url: str) -> None:
    hold = Hold()
    whole: list[Any] = [{"type": "logs", "logs": "ab"}, {"type": "image", "image": {"file_id": "file-i"}}]
    moves: list[Any] = [
        LogPiece(0, "a"),
        LogPiece(0, "b"),
        ImagePiece(1, "file-i"),
        hold,
        ToolResult("done", outputs=whole),
    ]
    model = FakeModel(None, uses("code_interpreter", ONE), says("Done."))
    async with Process(database_url, model, tools=[FakeTool(answer=lambda _: moves)]) as process:
        await process.say(THREAD, "Hi")
        with process.feed.watch(THREAD) as watcher:
            await process.begin(THREAD, tools=(CODE,))
            await hold.wait()
            live = [item for item in await watcher.take() if isinstance(item, StepOutputDelta)]
        assert [(item.index, item.logs, item.image) for item in live] == [
            (0, "a", None),
            (0, "b", None),
            (1, None, "file-i"),
        ]
        hold.opened.set()
        assert (await process.wait_until_settled(THREAD)).status == "completed"


BROKEN: list[tuple[Sequence[Any], str]] = [
    ([RuntimeError("it broke")], "The tool failed: RuntimeError: it broke"),
    ([LogPiece(0, "x")], "The tool failed: RuntimeError: it ended without a result"),
    ([ToolResult("x", outputs=[{"type": "logs"}])], "The tool failed: KeyError: 'logs'"),
    ([TimeoutError()], "The tool failed: TimeoutError"),
    ([ValueError("disk\x00full")], "The tool failed: ValueError: disk\ufffdfull"),
    ([OSError(111, "Connect call failed ('10.0.0.5', 5432)")], "The tool failed: ConnectionRefusedError"),
    ([StorageError("Cannot read key: http://minio.internal:9000/")], "The tool failed: StorageError"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("moves", "told"), BROKEN)
async def test_whatever_a_tool_does_the_model_is_told(database_url: str, moves: Any, told: str) -> None:
    model = FakeModel(None, uses("code_interpreter", ONE), says("I am sorry."))
    async with Process(database_url, model, tools=[FakeTool(answer=lambda _: moves)]) as process:
        assert (await turn(process)).status == "completed"
        assert [(end.outcome, end.output) for end in await ends(process)] == [("failed", told)]
        assert model.requests[-1].messages[-1]["content"] == told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("file_search", "not json", tool_calls.BAD_ARGUMENTS),
        ("file_search", "[1]", tool_calls.BAD_ARGUMENTS),
        ("code_interpreter", '{"cod": "1"}', tool_calls.NO_CODE),
        ("code_interpreter", "{}", tool_calls.NO_CODE),
        ("code_interpreter", '{"code": "print(1)\\nimport os; os.remove(', tool_calls.CODE_CUT),
        ("code_interpreter", '{"code": "print("a")"}', tool_calls.CODE_CUT),
    ],
)
async def test_arguments_that_are_none_are_told_to_the_model(
    database_url: str, tool: Any, arguments: str, told: str
) -> None:
    fake, wanted = FakeTool(tool), SEARCH if tool == "file_search" else CODE
    async with Process(database_url, FakeModel(None, uses(tool, arguments), says("Hm.")), tools=[fake]) as process:
        assert (await turn(process, wanted)).status == "completed"
        assert [(end.outcome, end.output) for end in await ends(process)] == [("refused", told)]
        assert fake.calls == []


async def test_slips_in_the_arguments_are_read_as_they_were_meant(database_url: str) -> None:
    written = """{"code": "import re\\nre.sub('\\d+', \\'a\\', s)"}"""
    fake = FakeTool()
    model = FakeModel(None, uses("code_interpreter", written), says("Hm."))
    async with Process(database_url, model, tools=[fake]) as process:
        assert (await turn(process)).status == "completed"
        assert [call.arguments["code"] for call in fake.calls] == ["import re\nre.sub('\\d+', 'a', s)"]


async def test_a_call_that_was_refused_is_none_that_a_session_was_used_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[logs("1")], [ToolResult("All places are taken.", refused=True)]])
    fake = FakeTool(answer=lambda _: next(answers))
    script = [uses("code_interpreter", one) for one in (ONE, ONE, '{"foo": 1}')]
    async with Process(database_url, FakeModel(None, *script, says("Hm.")), tools=[fake]) as process:
        assert (await turn(process)).status == "completed"
        assert [end.outcome for end in await ends(process)] == ["finished", "refused", "refused"]
        async with process.pool.acquire() as db:
            found = await steps.code_results(db, ORIGIN.project_id, THREAD, 10)
            assert [call_id for call_id, _ in found] == [fake.calls[0].id]
            monkeypatch.setattr(steps, "MAX_PAGE_BYTES", 1)
            assert await steps.code_results(db, ORIGIN.project_id, THREAD, 10) == found, "pages of one step"
            assert await verify(db, THREAD) == []


async def test_what_the_log_keeps_is_clean_and_bounded(database_url: str) -> None:
    long = "\x00" + "x" * (2 * 1024 * 1024)
    result = ToolResult(long, outputs=[{"type": "logs", "logs": long}, {"type": "logs", "logs": "more"}])
    model = FakeModel(None, uses("code_interpreter", ONE), says("Done."))
    async with Process(database_url, model, tools=[FakeTool(answer=lambda _: [result])]) as process:
        assert (await turn(process)).status == "completed"
        (end,) = await ends(process)
        assert len(end.output) < MAX_SEEN + 100
        # Tokens of the fake model are characters, so long outputs are shortened.
        assert len(model.requests[-1].messages[-1]["content"]) < 2048 + 100
        (logs_,) = end.shown["outputs"]
        assert len(logs_["logs"].encode()) < MAX_SHOWN + 100
        assert logs_["logs"].startswith("\ufffdx")
        left_out = len(long) + 2 - MAX_SHOWN + len("more")  # NUL is stored as three bytes
        assert logs_["logs"].endswith(f"[output cut here: {left_out} bytes and 0 images are left out]")


def test_outputs_beyond_the_bound_are_counted_in_the_logs() -> None:
    image = {"type": "image", "image": {"file_id": "file-1"}}
    result = ToolResult(
        "", outputs=[{"type": "logs", "logs": "é"}, *[image] * MAX_OUTPUTS, {"type": "logs", "logs": "é"}]
    )
    outputs = step_fields("code_interpreter", result)["outputs"]
    assert outputs == [{"type": "logs", "logs": "é" + cut_note(2, 1)}, *[image] * (MAX_OUTPUTS - 1)]
    result = ToolResult("", outputs=[image] * (MAX_OUTPUTS + 2))
    outputs = step_fields("code_interpreter", result)["outputs"]
    assert outputs == [*[image] * MAX_OUTPUTS, {"type": "logs", "logs": cut_note(0, 2)}]


async def test_a_tool_that_is_unusable_fails_the_run_and_says_why(database_url: str) -> None:
    stale = ToolUnusable("The thread's vector store has expired.")
    for number, tool in enumerate((FakeTool(brief=stale), FakeTool(answer=lambda _: [LogPiece(0, "x"), stale]))):
        model = FakeModel(None, uses("code_interpreter", ONE))
        async with Process(database_url, model, tools=[tool]) as process:
            thread = f"t_{number}"
            await process.say(thread, "Hi")
            await process.begin(thread, tools=(CODE,))
            made = await process.wait_until_settled(thread)
            assert (made.status, (made.last_error or {})["message"]) == ("failed", stale.message)
            await process.log(thread)


async def test_a_tool_that_is_off_fails_the_run_with_its_reason(database_url: str) -> None:
    model = FakeModel(None, says("never"))
    async with Process(database_url, model, tools=[FakeTool(unavailable_reason="No namespaces here.")]) as process:
        made = await turn(process)
        assert (made.status, (made.last_error or {})["message"]) == ("failed", "No namespaces here.")
        assert model.requests == []


async def test_a_cancel_stops_the_tool_and_keeps_what_was_seen(database_url: str) -> None:
    hold = Hold()
    tool = FakeTool(answer=lambda _: [LogPiece(0, "so far"), hold])
    async with Process(database_url, FakeModel(None, uses("code_interpreter", ONE)), tools=[tool]) as process:
        await process.say(THREAD, "Hi")
        run = await process.begin(THREAD, tools=(CODE,))
        await hold.wait()
        await process.cancel(run)
        made = await process.wait_until_settled(THREAD)
        await tool.wait_for_stop()
        assert (made.status, tool.closed) == ("cancelled", 1)
        (step,) = await calls_of(process)
        assert step.status == "cancelled"
        assert step.results[tool.calls[0].id] == {"shown": {"outputs": [{"type": "logs", "logs": "so far"}]}}
        assert made.usage == step.usage


async def test_a_cancel_while_a_tool_briefs(database_url: str) -> None:
    hold = Hold()
    model = FakeModel(None)
    async with Process(database_url, model, tools=[FakeTool(brief=hold)]) as process:
        await process.say(THREAD, "Hi")
        run = await process.begin(THREAD, tools=(CODE,))
        await hold.wait()
        await process.cancel(run)
        assert (await process.wait_until_settled(THREAD)).status == "cancelled"
        assert model.requests == []


@pytest.mark.slow
async def test_expiry_stops_the_tool(database_url: str) -> None:
    hold = Hold()
    tool = FakeTool(answer=lambda _: [hold])
    async with Process(database_url, FakeModel(None, uses("code_interpreter", ONE)), tools=[tool]) as process:
        await process.say(THREAD, "Hi")
        run = await process.begin(THREAD, tools=(CODE,), lifetime=2)
        made = await process.wait_until_settled(THREAD)
        assert (made.status, made.id) == ("expired", run.id)
        if tool.calls:  # on a slow machine the run may expire before the call begins
            await tool.wait_for_stop()
        await process.log(THREAD)


async def test_a_deleted_thread_stops_the_tool(database_url: str) -> None:
    hold = Hold()
    tool = FakeTool(answer=lambda _: [hold])
    async with Process(database_url, FakeModel(None, uses("code_interpreter", ONE)), tools=[tool]) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD, tools=(CODE,))
        await hold.wait()
        await process.do(THREAD, DeleteThread())
        await tool.wait_for_stop()
        kinds = [type(entry.event) for entry in await process.log(THREAD)]
        assert ToolCallStopped in kinds


async def test_a_tool_that_hangs_on_to_itself_does_not_hold_the_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "STOP_TIMEOUT_S", 0.01)
    hold, forever = Hold(), asyncio.Event()

    class Stubborn(FakeTool):
        async def perform(self, call: HostedCall) -> Any:
            try:
                hold.reached.set()
                await asyncio.Event().wait()
            finally:
                await forever.wait()
            yield logs("never")

    async with Process(database_url, FakeModel(None, uses("code_interpreter", ONE)), tools=[Stubborn()]) as process:
        await process.say(THREAD, "Hi")
        run = await process.begin(THREAD, tools=(CODE,))
        await hold.wait()
        await process.cancel(run)
        assert (await process.wait_until_settled(THREAD)).status == "cancelled"
        forever.set()


@pytest.mark.slow
async def test_a_tool_that_kills_its_processes_is_given_up(database_url: str) -> None:
    """After three attempts the call is reported to the model as lost, and the run continues."""
    tool = FakeTool(answer=lambda _: [Hold()])
    model = FakeModel(None, uses("code_interpreter", ONE), says("Lost."))
    async with Process(database_url, model, tools=[tool]) as process:
        await process.say(THREAD, "Hi")
        await process.begin(THREAD, tools=(CODE,))
        await tool.wait_for_calls(1)
    for attempt in (2, 3):
        async with Process(database_url, model, tools=[tool]):
            await tool.wait_for_calls(attempt)
    async with Process(database_url, model, tools=[tool]) as process:
        assert (await process.wait_until_settled(THREAD)).status in TERMINAL
        starts = [entry.event for entry in await process.log(THREAD) if isinstance(entry.event, ToolCallStarted)]
        assert [start.attempt for start in starts] == [1, 2, 3]
        assert [(end.outcome, end.output) for end in await ends(process)] == [("lost", tool_calls.LOST)]
        assert texts(await process.messages(THREAD))[-1] == ("assistant", "Lost.")


async def test_budgets_hold_between_tools(database_url: str) -> None:
    model = FakeModel(None, uses("code_interpreter", ONE), says("never"))
    async with Process(database_url, model, tools=[FakeTool()]) as process:
        made = await turn(process, max_completion_tokens=5)
        assert (made.status, made.incomplete_reason) == ("incomplete", "max_completion_tokens")
        assert len(model.requests) == 1


async def test_a_users_function_keeps_its_name(database_url: str) -> None:
    named = {"type": "function", "function": {"name": "code_interpreter", "parameters": {"type": "object"}}}
    model, tool = FakeModel(None, asks("code_interpreter")), FakeTool()
    async with Process(database_url, model, tools=[tool]) as process:
        assert (await turn(process, CODE, named)).status == "requires_action"
        assert tool.calls == []
