"""The real embedded model with tools: prompted as in app.py, with a fake tool that performs its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.embedded.model import EmbeddedModel
from service.model.base import ChatRequest, ModelStreamEnd, TextDelta, ToolCallDelta
from service.model.lifespan import EMBEDDED_MODEL
from service.model.router import Router
from tests.model.conftest import open_test_model
from tests.runs import fake_tool
from tests.runs import process as process_module
from tests.runs.fake_tool import FakeTool
from tests.runs.process import Process

pytestmark = pytest.mark.embedded
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": PARAMETERS}}


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[Router]:
    running = EmbeddedModel(tmp_path)
    address = await running.start()
    router = open_test_model(address.base_url, address.key, embedded=EMBEDDED_MODEL)
    yield router
    await router.close()
    await running.stop()


async def test_a_required_code_interpreter_is_called(
    model: Router, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for waiting in (process_module, fake_tool):
        monkeypatch.setattr(waiting, "WAIT_S", 150.0)  # a loaded machine answers slowly
    tool = FakeTool()
    async with Process(database_url, model, tools=[tool]) as process:  # type: ignore[arg-type]
        await process.say("t1", "What is 1234*5678?")
        chosen: Any = {"type": "code_interpreter"}
        await process.begin("t1", tools=(chosen,), tool_choice=chosen, temperature=0.0, max_completion_tokens=300)
        await tool.wait_for_calls(1)
        assert tool.calls[0].arguments["code"].strip()
        made = await process.wait_until_settled("t1")
        assert made.status in ("completed", "incomplete"), made.last_error
        step = (await process.steps("t1"))[0]
        assert (step.type, step.status) == ("tool_calls", "completed")
        assert step.results[tool.calls[0].id]["output"] == "2"


async def test_the_model_answers_in_words_or_calls_an_offered_function(model: Router) -> None:
    """The model is small and may do either; in both cases the JSON of the schema does not reach the user."""
    hi = [{"role": "user", "content": "Say hello."}]
    request = ChatRequest("m", hi, tools=[WEATHER], tool_choice="auto", temperature=0.0, max_completion_tokens=60)
    events = [event async for batch in model.stream(request) for event in batch]
    said = "".join(event.text for event in events if isinstance(event, TextDelta))
    called = [event.name for event in events if isinstance(event, ToolCallDelta) and event.name]
    assert said or called
    assert set(called) <= {"weather"}
    assert not said.startswith("{")
    assert isinstance(events[-1], ModelStreamEnd)
