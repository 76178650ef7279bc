"""The main job as a whole: the command as users start it, the embedded Postgres and model, and the guide's program."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.client import KEY
from tests.machine import clean_environment
from tests.sdks.test_sdks import VERSIONS, run_program

START_S = 120.0


async def _line(process: asyncio.subprocess.Process, mark: str) -> str:
    """Returns the text behind `mark` in the first line of the process's output that holds it."""
    assert process.stdout is not None
    async for line in process.stdout:
        if mark in line.decode():
            return line.decode().split(mark, 1)[1].strip()
    raise AssertionError(f"the server ended without saying {mark}")


@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.sdk
async def test_the_guides_program_on_the_embedded_model(tmp_path: Path) -> None:
    environment = clean_environment()
    environment |= {"EVERTHREAD_DATA_DIR": str(tmp_path / "data"), "EVERTHREAD_API_KEY": KEY}
    command = (sys.executable, "-m", "service.cli", "serve", "--port", "0")
    server = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    try:
        base_url = await asyncio.wait_for(_line(server, "OPENAI_BASE_URL="), START_S)
        printed = await asyncio.gather(*(run_program("math_tutor.py", version, base_url) for version in VERSIONS))
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), START_S)
    for one in printed:
        # The model is real and small. The test asserts that it answers and that tokens are counted, not the text. A
        # long answer is cut at the model's limit.
        assert one["status"] in ("completed", "incomplete")
        assert [role for role, _ in one["messages"]] == ["assistant", "user"]
        assert len(one["messages"][0][1]) > 20
        assert one["usage"]["prompt_tokens"] > 20
        assert one["usage"]["completion_tokens"] > 5
        assert one["steps"] == [["message_creation", "completed"]]
        assert one["deleted"] == [True, True]
