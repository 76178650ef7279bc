"""The sandbox's Python made in the background: waiting for it, and the ways in which making it ends."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from service.sandbox import install
from service.sandbox.base import Limits, SandboxUnavailable
from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.environment import NoEnvironment
from service.sandbox.factory import LocalSandboxSource
from service.sandbox.probe import MADE_WITHIN_S, SandboxProbe
from service.sandbox.provisioning import BEING_MADE, Provisioning
from tests.clock import LoopClock
from tests.sandbox.calls import say

LIMITS = Limits(wall_s=120.0)
# Works in a folder of its own and removes it at the end, as an install does.
WORKS = """
import os, shutil, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    os.mkdir(sys.argv[1])
    time.sleep(1000)
finally:
    shutil.rmtree(sys.argv[1])
"""


def command(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


async def test_a_session_waits_for_it_and_nobody_else_does(launcher: SandboxLauncher, tmp_path: Path) -> None:
    making = Provisioning(tmp_path, command=command("pass"))
    probe = SandboxProbe(None, making)  # the folder that it will have
    opening = asyncio.create_task(LocalSandboxSource(probe, LIMITS).open())
    with pytest.raises(SandboxUnavailable, match="is being made"):
        await probe.launcher()
    assert (probe.is_provisioning, probe.is_tried, probe.unavailable_reason) == (True, False, None)
    assert not opening.done()
    await making.run()
    session = await opening
    assert (await say(session, "6 * 7")).shown == "42\n"
    assert (probe.is_provisioning, probe.is_tried) == (False, True)
    await session.close()


async def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    probe = SandboxProbe(tmp_path, Provisioning(tmp_path, command=command("pass")))
    clock = LoopClock(asyncio.get_running_loop())
    opening = asyncio.create_task(LocalSandboxSource(probe, LIMITS).open())
    await asyncio.sleep(0)
    clock.skip(MADE_WITHIN_S)
    with pytest.raises(SandboxUnavailable) as raised:
        await opening
    assert str(raised.value) == BEING_MADE
    assert probe.unavailable_reason is None


async def test_what_came_to_nothing_says_why(tmp_path: Path) -> None:
    said = "import sys; sys.exit('everthread: pip failed: no network\\nWithout it …')"
    for told, why in ((said, "pip failed: no network"), ("import os; os.abort()", "exit code -6")):
        making = Provisioning(tmp_path, command=command(told))
        await making.run()
        with pytest.raises(SandboxUnavailable, match=why):
            await SandboxProbe(tmp_path, making).launcher()
    making = Provisioning(tmp_path, command=[str(tmp_path / "none")])
    await making.run()
    assert making.failure == "the Python for the sandbox cannot be made: No such file or directory"


async def test_a_server_that_stops_ends_it_and_nothing_half_made_stays(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    making = Provisioning(tmp_path, command=command(WORKS, str(begun)))
    working = asyncio.create_task(making.run())
    while not begun.exists():
        await asyncio.sleep(0.01)
    working.cancel()
    await asyncio.wait({working})
    assert working.cancelled()
    assert not begun.exists()
    assert not making.is_running


async def test_what_is_there_is_not_made_again(launcher: SandboxLauncher) -> None:
    making = Provisioning(None, command=["/nonexistent"])
    assert not making.is_running
    await making.run()
    assert making.failure is None


def test_what_killed_installs_left_is_removed_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / ".sandbox-1.old", tmp_path / ".sandbox-1.new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "file").write_text("x")
    os.utime(old, (0, time.time() - install._STALE_S - 60))

    def broken(new: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(install, "_copy_python", broken)
    with pytest.raises(NoEnvironment):
        install.install(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]
