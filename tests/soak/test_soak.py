"""A short soak: the same clients, faults and comparison as those of `scripts/soak`, for a few seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.checks import has_open_function
from tests.soak.soak import SoakPlan, soak


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(400)
async def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    report = await soak(SoakPlan(minutes=0.1, seed=2, clients=5, disk_mib=1024, home=tmp_path))
    assert report.is_clean, report.as_json()
    assert report.kills.kills > 0
    assert report.verdict.compared["messages"] > 0


@pytest.mark.parametrize(("output", "is_open"), [(None, True), ("sunny", False)])
def test_a_run_whose_client_left_may_expire_while_it_waits_for_outputs(output: str | None, is_open: bool) -> None:
    """The only end by time that a soak accepts: the server waited for a client that followed the run no longer."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}", "output": output}}
    said = {"step_details": {"type": "message_creation"}}
    called = {"step_details": {"type": "tool_calls", "tool_calls": [call]}}
    assert has_open_function([said, called]) is is_open
    assert not has_open_function([called, said])
    assert not has_open_function([])
