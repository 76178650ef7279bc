"""Forks, with the first and the newest SDK."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.scripted import ScriptedServer, says
from tests.sdks.test_sdks import VERSIONS, run_program

pytestmark = pytest.mark.sdk


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_fork_goes_on_with_an_sdk(client: Client, model: ScriptedServer, version: str) -> None:
    model.script(says("Fine."), says("Still fine."))
    printed = await run_program("fork.py", version, client.base_url)
    assert printed == {
        "version": version,
        "kind": ["thread", "Thread", {"k": "v"}],
        "equal": True,
        "objects": ["thread.run", "completed", "thread.run.step", "completed"],
        "statuses": ["completed", "completed"],
        "last": ["And now?", "Still fine."],
    }
