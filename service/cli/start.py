"""Starts everything that a server needs, then the server, and stops them in reverse order.

Postgres and the model start at the same time. One TaskGroup owns the server and the watchers of its child processes. A
signal, an error and the death of a child process all end it in the same way.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from service.cli.garbage import collect_while_idle, exempt_started_objects, shorten_turns_of_threads
from service.cli.local_models import USUAL_PORTS, find_model_server
from service.cli.progress import StartProgress
from service.cli.workers import run_workers
from service.embedded.data_dir import DataDir, StoredKey
from service.embedded.model import MODEL_NAME, EmbeddedModel, ModelAddress
from service.embedded.postgres import EmbeddedPostgres
from service.errors import StartupError
from service.sandbox.environment import NoEnvironment, find_environment
from service.settings import Settings
from service.storage.temp_folders import sweep_temp_folders
from service.workers.listeners import open_listeners
from service.workers.pool_sizes import needed_connections

MAX_MODEL_NAME = 80  # characters that are printed of the name of another server's model


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The facts that a client needs. `base_url` ends in /v1.

    `api_key` is the key in the data directory, or None if the settings name a key. `is_provisioning_sandbox` says that
    code_interpreter is not ready yet. `console_url` signs in once if it is loopback; None if the console is off.
    """

    base_url: str
    api_key: StoredKey | None
    model: str
    is_provisioning_sandbox: bool
    console_url: str | None


async def launch(settings: Settings, progress: StartProgress, on_ready: Callable[[ServerInfo], None]) -> None:
    """Serves until it is cancelled. Raises StartupError if the server cannot start or cannot continue.

    No garbage is collected until the server is ready: a collection would find little, among all objects of the imports.
    """
    gc.disable()
    with _first_of_group():
        async with AsyncExitStack() as stack:
            stack.callback(gc.enable)
            data_dir = DataDir.acquire(settings.data_dir, shared=settings.database_url is not None)
            stack.callback(data_dir.release)
            listeners = _open_listeners(settings, stack)
            progress.say(f"[green]✓[/] Data directory {data_dir.path}")
            await _run(
                settings.model_copy(update={"data_dir": data_dir.path}), data_dir, listeners, progress, on_ready, stack
            )


async def _run(
    settings: Settings,
    data_dir: DataDir,
    listeners: Sequence[socket.socket],
    progress: StartProgress,
    on_ready: Callable[[ServerInfo], None],
    stack: AsyncExitStack,
) -> None:
    stored_key = data_dir.api_key() if settings.api_key is None else None
    given_key = settings.api_key.get_secret_value() if settings.api_key is not None else ""
    api_key = stored_key.key if stored_key is not None else given_key
    connections = needed_connections(settings.worker_count) if listeners else 0
    postgres = EmbeddedPostgres(data_dir.path, connections=connections) if settings.database_url is None else None
    model = EmbeddedModel(data_dir.path) if settings.model_base_url is None else None
    async with asyncio.TaskGroup() as starting:
        database = starting.create_task(_start_postgres(postgres, settings, progress, stack))
        address = starting.create_task(_start_model(model, settings, progress, stack))
        if model is not None:
            starting.create_task(_suggest_model_server(settings, progress))
        starting.create_task(asyncio.to_thread(sweep_temp_folders))
        # The import takes most of a second. The child processes are started before it, and awaited meanwhile.
        server_import = None if listeners else starting.create_task(asyncio.to_thread(_import_serve))

    console_urls: list[str] = []

    def announce(base_url: str) -> None:
        base_url = base_url.rstrip("/")
        base_url = base_url if base_url.endswith("/v1") else base_url + "/v1"
        data_dir.announce(f"the server at {base_url}")
        exempt_started_objects()
        shorten_turns_of_threads()
        served = f"{MODEL_NAME} (embedded; serves every name)" if model else f"as at {settings.model_base_url}"
        on_ready(
            ServerInfo(
                base_url=base_url,
                api_key=stored_key,
                model=served,
                is_provisioning_sandbox=_will_provision_sandbox(settings),
                console_url=console_urls[0] if console_urls else None,
            )
        )

    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(collect_while_idle())]
        watchers += [group.create_task(postgres.keep_running())] if postgres is not None else []
        watchers += [group.create_task(model.keep_running())] if model is not None else []
        upstreams: dict[str, Any] = {
            "database_url": database.result(),
            "owner_url": postgres.urls.owner if postgres is not None else None,
            "api_key": api_key,
            "model_base_url": address.result().base_url,
            "model_api_key": address.result().key or None,
            "embedded_model": model is not None,
        }
        if server_import is None:
            await run_workers(settings, upstreams, listeners, announce, console_urls.append)
        else:
            await server_import.result()(settings, **upstreams, ready=announce, on_console=console_urls.append)
        for watcher in watchers:
            watcher.cancel()


def _will_provision_sandbox(settings: Settings) -> bool:
    if not settings.sandbox_install or settings.code_interpreter == "off":
        return False
    try:
        find_environment(settings.sandbox_dir, settings.code_package_set)
    except NoEnvironment:
        return True
    return False


def _import_serve() -> Callable[..., Awaitable[None]]:
    from service.app.server import serve

    return serve


async def _start_postgres(
    postgres: EmbeddedPostgres | None, settings: Settings, progress: StartProgress, stack: AsyncExitStack
) -> str:
    """Starts the embedded Postgres, if the settings name no database, and returns the database's URL."""
    if postgres is None:
        assert settings.database_url is not None
        return settings.database_url.get_secret_value()
    stack.push_async_callback(postgres.stop)
    doing = "Starting Postgres" if postgres.exists else "Creating the database"
    with progress.step(doing, "Postgres"):
        await postgres.start()
    return postgres.urls.service


async def _start_model(
    model: EmbeddedModel | None, settings: Settings, progress: StartProgress, stack: AsyncExitStack
) -> ModelAddress:
    if model is None:
        assert settings.model_base_url is not None
        key = settings.model_api_key.get_secret_value() if settings.model_api_key is not None else ""
        return ModelAddress(settings.model_base_url, key)
    stack.push_async_callback(model.stop)
    with progress.step(f"Loading the model {MODEL_NAME}", f"Model {MODEL_NAME}"):
        return await model.start()


async def _suggest_model_server(settings: Settings, progress: StartProgress) -> None:
    """Prints the option that would use a model server of this machine in place of the embedded model."""
    found = await find_model_server(settings.port, USUAL_PORTS)
    if found is not None:
        program = f"{found.program} with {escape(found.model[:MAX_MODEL_NAME])}"
        progress.say(f"[yellow]![/] A model server runs here ({program}). To use it: --model-base-url {found.base_url}")


def _open_listeners(settings: Settings, stack: AsyncExitStack) -> Sequence[socket.socket]:
    """Returns the sockets that several workers inherit; none for a single process, which opens its own.

    Raises StartupError if the port is in use, before anything is started.
    """
    try:
        if settings.worker_count > 1:
            listeners = open_listeners(settings.host, settings.port)
            for listener in listeners:
                stack.callback(listener.close)
            return listeners
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _, address = found[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return ()
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"{where} is in use by another program: choose another port with --port") from None
        raise StartupError(f"Cannot listen at {where}: {error.strerror}") from None


@contextmanager
def _first_of_group() -> Iterator[None]:
    """Raises the first StartupError of an exception group instead of the group, so that the user sees one line."""
    try:
        yield
    except BaseExceptionGroup as group:
        expected = group.subgroup(StartupError)
        while expected is not None:
            first = expected.exceptions[0]
            if not isinstance(first, BaseExceptionGroup):
                raise first from None
            expected = first
        raise
