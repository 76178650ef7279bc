"""The guide's programs, unchanged, with the first and the newest SDK that can run them, against a whole server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.client import KEY, Client
from tests.scripted import ScriptedServer, calls, says

pytestmark = pytest.mark.sdk
HERE = Path(__file__).parent
VENVS = HERE.parent.parent / ".venvs"
VERSIONS = ["1.20.0", "3.54.0"]
PROGRAM_S = 400.0
ANSWER = "Hello Jane Doe! x is 1."


async def run_program(name: str, version: str, base_url: str, key: str = KEY) -> Any:
    """Runs a program under an SDK's own Python and returns the JSON that it prints. Fails with its standard error."""
    python = VENVS / f"openai-{version}" / "bin" / "python"
    assert python.exists(), f"{python} is missing: scripts/test makes it"
    environment = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}
    command = (python, HERE / "programs" / name)
    program = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(program.communicate(), PROGRAM_S)
    assert program.returncode == 0, err.decode()
    return orjson.loads(out)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_guides_program_runs_unchanged(client: Client, model: ScriptedServer, version: str) -> None:
    model.script(says(ANSWER))
    printed = await run_program("math_tutor.py", version, client.base_url)
    usage = printed.pop("usage")
    assert printed == {
        "first_status": "queued",
        "status": "completed",
        "model": "gpt-4-turbo-preview",
        "instructions": "Please address the user as Jane Doe.",
        "messages": [
            ["assistant", ANSWER],
            ["user", "I need to solve the equation `3x + 11 = 14`. Can you help me?"],
        ],
        "steps": [["message_creation", "completed"]],
        "deleted": [True, True],
    }
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    request = await model.next_request()
    assert request["messages"] == [
        {"role": "system", "content": "Please address the user as Jane Doe."},
        {"role": "user", "content": "I need to solve the equation `3x + 11 = 14`. Can you help me?"},
    ]


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_guides_streaming_program_runs_unchanged(client: Client, model: ScriptedServer, version: str) -> None:
    model.script(calls(("solve", {"equation": "3x + 11 = 14"})), says("x is 1.", pieces=3))
    printed = await run_program("math_tutor_streaming.py", version, client.base_url)
    assert printed["first"][:5] == [
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
    ]
    assert printed["first"][-1] == "thread.run.requires_action"
    assert [name for name, _ in printed["calls"]] == ["solve"]
    assert orjson.loads(printed["calls"][0][1]) == {"equation": "3x + 11 = 14"}
    assert printed["second"][:5] == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
    ]
    assert printed["second"][-3:] == ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]
    assert (printed["text"], printed["status"]) == ("x is 1.", "completed")
