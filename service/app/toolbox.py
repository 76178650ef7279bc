"""Search, the sandbox, and the hosted tools that use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from service.app.core import Core
from service.database import Pool
from service.embedded.data_dir import default_data_dir
from service.sandbox.lifespan import sandbox_lifespan, sessions_lifespan
from service.sandbox.pool import SessionPool
from service.sandbox.probe import SandboxProbe
from service.search.base import SearchEngine
from service.search.factory import open_search_engine
from service.settings import Settings
from service.tool_adapters.factory import ToolServices, open_tools
from service.workers.membership import Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """Search, the sandbox, and the hosted tools that use them."""

    probe: SandboxProbe
    engine: SearchEngine
    hosted: ToolServices


async def open_toolbox(
    stack: AsyncExitStack,
    settings: Settings,
    core: Core,
    member: Membership,
    *,
    search_engine: Callable[[Pool], SearchEngine] | None,
    serving: asyncio.Event,
) -> Toolbox:
    enter, limits = stack.enter_async_context, settings.code_limits
    packages, requirements = settings.code_package_set, settings.code_requirements
    installs = settings.sandbox_install
    probe = await enter(
        sandbox_lifespan(settings.sandbox_dir, packages, requirements, installs=installs, serving=serving)
    )
    sandboxes: SessionPool | None = None
    if settings.code_interpreter == "on":
        warm, at_once, idle_s = settings.code_warm, settings.code_sessions, settings.code_idle_s
        sandboxes = await enter(
            sessions_lifespan(
                probe,
                limits,
                warm=warm,
                at_once=at_once,
                idle_s=idle_s,
                serving=serving,
                open_places=member.open_places,
                holders=member.sessions,
            )
        )
    if search_engine is not None:
        engine = search_engine(core.pool)
    else:
        engine = _open_search_engine(settings, core, probe, member)
    stack.push_async_callback(engine.close)
    hosted = open_tools(
        core.writer,
        blobs=core.blobs,
        searcher=engine.searcher,
        probe=probe,
        sandboxes=sandboxes,
        max_output_bytes=limits.disk,
        quota=core.access.storage,
        ids=core.ids,
    )
    return Toolbox(probe=probe, engine=engine, hosted=hosted)


def _open_search_engine(settings: Settings, core: Core, probe: SandboxProbe, member: Membership) -> SearchEngine:
    key = settings.embedding_api_key
    return open_search_engine(
        core.pool,
        probe,
        (settings.data_dir or default_data_dir()) / "embeddings.log",
        now=core.clock.now,
        base_url=settings.embedding_base_url,
        model=settings.embedding_model,
        api_key=key.get_secret_value() if key is not None else None,
        open_places=member.open_places,
    )
