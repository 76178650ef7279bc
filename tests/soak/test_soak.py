"""A short soak: the same clients, faults and comparison as those of `scripts/soak`, for a few seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.soak import SoakPlan, soak


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(400)
async def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    report = await soak(SoakPlan(minutes=0.1, seed=2, clients=5, disk_mib=1024, home=tmp_path))
    assert report.is_clean, report.as_json()
    assert report.kills.kills > 0
    assert report.verdict.compared["messages"] > 0
