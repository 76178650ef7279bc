"""Starts and stops the sandbox: the check of this machine, the sandbox's Python, and the sessions for code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.fair_places import OpenPlaces
from service.sandbox.base import Limits
from service.sandbox.factory import LocalSandboxSource
from service.sandbox.packages import PackageSet
from service.sandbox.pool import SessionHolders, SessionPool, SessionRegistry, WarmSandboxes
from service.sandbox.probe import SandboxProbe
from service.sandbox.provisioning import Provisioning
from service.tasks.background import background


@asynccontextmanager
async def sandbox_lifespan(
    folder: Path | None,
    packages: PackageSet,
    requirements: Path | None,
    *,
    installs: bool,
    serving: asyncio.Event,
) -> AsyncIterator[SandboxProbe]:
    """Yields the probe of this machine. `folder` is that of the sandbox's Python, with these packages; `requirements`
    is the file of the own list among them.

    If it `installs`, a missing Python is made in the background after `serving` is set.
    """
    if not installs:
        yield SandboxProbe(folder, packages=packages)
        return
    provisioning = Provisioning(folder, packages, requirements)
    async with background(_run_after(serving, provisioning)):
        yield SandboxProbe(folder, provisioning, packages)


@asynccontextmanager
async def sessions_lifespan(
    probe: SandboxProbe,
    limits: Limits,
    *,
    warm: int,
    at_once: int,
    idle_s: float,
    serving: asyncio.Event,
    open_places: OpenPlaces,
    holders: SessionHolders | None,
) -> AsyncIterator[SessionPool]:
    """Yields a pool of sessions, `at_once` of them at most, with `warm` sandboxes that are ready to be used.

    The sandboxes are started after `serving` is set. This finds out whether the machine allows sandboxes.
    """
    ready = WarmSandboxes(LocalSandboxSource(probe, limits), count=warm)
    sessions = SessionRegistry(ready, at_once=at_once, idle_s=idle_s, open_places=open_places, holders=holders)
    async with background(_run_after(serving, ready), sessions.run(), sessions.give_way()):
        yield SessionPool(sessions, ready)


async def _run_after(serving: asyncio.Event, work: Provisioning | WarmSandboxes) -> None:
    await serving.wait()
    await work.run()
