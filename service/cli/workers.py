"""The workers of `everthread serve --workers`, as its parent runs them."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.database import wait_until_reachable
from service.settings import Settings
from service.workers.pool_sizes import find_pool_size
from service.workers.shared_memory import SharedMemory, create_memory
from service.workers.worker_pool import WorkerPool


async def run_workers(
    settings: Settings,
    upstreams: Mapping[str, Any],
    listeners: Sequence[socket.socket],
    on_ready: Callable[[str], None],
    on_console: Callable[[str], None],
) -> None:
    """Runs as many workers as the settings say until cancelled. SIGHUP restarts them one by one. Raises StartupError.

    `upstreams` are the arguments of `service.app.server.serve` for the addresses and keys. `on_ready` is called with
    the base URL when all workers serve, and `on_console` before it with the console's URL, if it is served.
    """
    count, database_url = settings.worker_count, upstreams["database_url"]
    await wait_until_reachable(database_url, settings.database_wait_s)
    pool_size = await find_pool_size(database_url, count)
    memory = create_memory()
    shared = SharedMemory(memory)
    values, descriptors = _reveal(settings), [listener.fileno() for listener in listeners]

    def make_order(index: int, is_first: bool) -> Mapping[str, Any]:
        # An embedded database is this server's alone, so no process can have been alive before the first workers.
        is_alone = is_first and upstreams["owner_url"] is not None
        return {
            "settings": values,
            "upstreams": upstreams,
            "listeners": descriptors,
            "is_alone": is_alone,
            "makes_console_link": is_first and index == 0,
            "pool_size": pool_size,
            "memory": memory,
        }

    workers = WorkerPool(
        count,
        make_order=make_order,
        descriptors=(memory, *descriptors),
        on_end=shared.release_process,
        database_wait_s=settings.database_wait_s,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, workers.restart)

    def announce(base_url: str, console_url: str | None) -> None:
        if console_url is not None:
            on_console(console_url)
        on_ready(base_url)

    await workers.run(announce)


def _reveal(settings: Settings) -> dict[str, Any]:
    """Returns the settings as JSON values, secrets among them, for a process of this server."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        values[name] = str(value) if isinstance(value, Path) else value
    return values
