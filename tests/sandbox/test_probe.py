"""The trial that finds out if code can be confined on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from service.sandbox import probe
from service.sandbox.base import Limits, SandboxUnavailable
from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.probe import SandboxProbe
from service.sandbox.process import ConfinedProcess


def kill_trials(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Kills the processes of the next `number` trials. Returns the list to which the id of each trial's is added."""
    started: list[int] = []
    start = SandboxLauncher.start

    def start_and_kill(
        self: SandboxLauncher, command: Sequence[str], code: Mapping[str, str], limits: Limits
    ) -> ConfinedProcess:
        process = start(self, command, code, limits)
        started.append(process.pid)
        if len(started) <= number:
            process.kill()
        return process

    monkeypatch.setattr(SandboxLauncher, "start", start_and_kill)
    return started


async def test_a_trial_whose_process_is_killed_is_repeated(
    launcher: SandboxLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = kill_trials(monkeypatch, probe.TRIALS - 1)
    tried = SandboxProbe()
    assert (await tried.launcher()).environment == launcher.environment
    assert len(started) == probe.TRIALS
    assert tried.unavailable_reason is None


async def test_trials_whose_processes_are_all_killed_say_so(
    launcher: SandboxLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = kill_trials(monkeypatch, probe.TRIALS)
    with pytest.raises(SandboxUnavailable, match="the process that tries the sandbox was killed"):
        await SandboxProbe().launcher()
    assert len(started) == probe.TRIALS
