"""The one place that builds things: database, model, supervisor, HTTP; and takes them down in the right order."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from aiohttp import web

from events.clock import Clock
from events.ids import IdSource
from service import database
from service.access.keys import Keys
from service.access.rate_limits import RateLimits
from service.access.signed_tokens import Signer
from service.access.stream_limits import StreamLimits
from service.database import Pool, open_pool
from service.embedded.data_dir import default_data_dir
from service.errors import StartupError
from service.feed import Feed
from service.files.sweep import Sweep
from service.http.application import make_app
from service.http.server import ApiRunner
from service.http.services import (
    AccessControl,
    EventLog,
    HttpSettings,
    RunControl,
    Search,
    Services,
    Telemetry,
    VectorStoreServices,
)
from service.http.tracing import Traces
from service.idempotency.keys import IdempotencyKeys
from service.migrations import prepare_database
from service.model.base import ModelInfo
from service.model.catalog import CatalogError
from service.model.router import Router, open_model
from service.processes.peers import Peers
from service.runs.images import PromptImages
from service.runs.supervisor import Supervisor
from service.sandbox.factory import LocalSandboxes
from service.sandbox.pool import Sessions, Warm
from service.sandbox.probe import SandboxProbe
from service.sandbox.provisioning import Provisioning
from service.search.base import Indexer, SearchEngine
from service.search.factory import open_search_engine
from service.search.parse.sandbox_process import describe_fallback
from service.search.query_rewrite import QueryRewriter
from service.settings import Settings
from service.storage.base import Blobs, StorageError
from service.storage.factory import open_blobs
from service.system import RandomIds, SystemClock
from service.telemetry.health import Health
from service.telemetry.metrics import Metrics
from service.tool_adapters.code_files import CodeFiles, ThreadsGone
from service.tool_adapters.searched_stores import OurStores
from service.tools.code_interpreter.tool import CodeInterpreter
from service.tools.file_search import FileSearch
from service.tools.registry import Tools
from service.vector_stores.attachments import Attachments
from service.vector_stores.builder import StoreBuilder
from service.vector_stores.supervisor import IndexingSupervisor
from service.vector_stores.upkeep import Upkeep
from service.webhooks.couriers import Couriers
from service.webhooks.endpoints import Endpoints
from service.webhooks.sender import Sender
from service.writer import Writer

log = structlog.get_logger()

# Seconds that requests under way get to end when the server stops; streams are ended, their runs go on at next start.
SHUTDOWN_TIMEOUT = 2.0
BACKLOG = 1024
TRACES_TO = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

EMBEDDED = ModelInfo(
    upstream_name="embedded", context_window=8192, encoding="cl100k_base", margin=1.5, vision=False, tools="prompted"
)


async def serve(
    settings: Settings,
    *,
    database_url: str,
    api_key: str,
    model_base_url: str,
    model_api_key: str | None,
    embedded_model: bool,
    ready: Callable[[str], None],
    search_engine: Callable[[Pool], SearchEngine] | None = None,
    clock: Clock | None = None,
) -> None:
    """Migrates, serves and supervises until cancelled; calls `ready(base_url)` once it listens. Raises StartupError.

    `search_engine` makes indexing and search, where they are not to be those of the settings. `clock` replaces the
    system's.
    """
    clock, ids = clock or SystemClock(), RandomIds()
    async with AsyncExitStack() as stack:
        served = EMBEDDED if embedded_model else None
        blobs, model = _opened(settings, clock, ids, model_base_url, model_api_key, served)
        stack.push_async_callback(model.close)
        await prepare_database(database_url)
        pool = await open_pool(database_url)
        stack.push_async_callback(_close_pool, pool)
        direct = settings.database_direct_url
        feed, direct_url = Feed(), direct.get_secret_value() if direct else database_url
        metrics, traces = Metrics(), await _traces(stack, feed)
        feed.listen_to_threads(metrics)
        feed.listen_to_stores(metrics)
        keys, limits = Keys(pool, api_key, clock=clock), RateLimits(pool)
        feed.listen_to_threads(limits)
        making = Provisioning(settings.sandbox_dir) if settings.sandbox_install else None
        writer, confinement = Writer(pool, feed, clock=clock), SandboxProbe(settings.sandbox_dir, making)
        on, disk = settings.code_interpreter == "on", settings.code_limits.disk
        code = CodeInterpreter(CodeFiles(writer, blobs, ids=ids), confinement, on=on, handed_on=disk)
        feed.listen_to_threads(ThreadsGone(code))
        found = (
            search_engine(pool)
            if search_engine is not None
            else _open_search_engine(settings, pool, confinement, clock)
        )
        stack.push_async_callback(found.close)
        sender = await stack.enter_async_context(Sender(clock=clock, allow_private=settings.webhooks_allow_private))
        couriers = partial(Couriers, writer, sender=sender, metrics=metrics)
        serving, tools = asyncio.Event(), Tools([code, FileSearch(found.searcher, OurStores(writer))])
        outside = (model, blobs, keys, found.indexer, tools)
        async with (
            _made(making, serving),
            _sandboxes(settings, code, confinement, serving),
            _supervised(settings, writer, ids, *outside, direct_url, couriers) as (supervisor, once),
        ):
            builder = StoreBuilder(
                writer, embedding_model=found.indexer.embedding_model, max_files=settings.max_store_files
            )
            services = Services(
                log=EventLog(writer=writer, pool=pool, feed=feed, clock=clock, ids=ids),
                access=AccessControl(
                    keys=keys,
                    limits=limits,
                    streams=StreamLimits(),
                    signer=Signer(pool, keys, clock=clock, ids=ids),
                ),
                blobs=blobs,
                runs=RunControl(claims=supervisor, lifetime=settings.run_expires_s, busy=settings.busy),
                search=Search(
                    searcher=found.searcher,
                    rewrite_queries=QueryRewriter(model, settings.rewrite_model).rewrite,
                ),
                vector_stores=VectorStoreServices(builder=builder, attachments=Attachments(builder)),
                telemetry=Telemetry(
                    metrics=metrics,
                    health=_health(pool, model, code, confinement).parts,
                    sandboxes=code,
                ),
                idempotency=once,
                passthrough=model.relay,
                webhooks=Endpoints(writer, sender),
                settings=HttpSettings(
                    cors_origins=settings.allowed_origins,
                    public_url=settings.public_url,
                    is_beta_strict=settings.beta == "strict",
                    is_metrics_open=settings.metrics == "open",
                ),
            )
            async with _listening(settings, services, traces) as base_url:
                ready(base_url)
                serving.set()
                await asyncio.Event().wait()


def _health(pool: Pool, model: Router, code: CodeInterpreter, confinement: SandboxProbe) -> Health:
    parts = {"database": lambda: database.healthy(pool), "model": model.check_health}
    optional = {"code_interpreter": code.state, "file_parsing": lambda: describe_fallback(confinement)}
    return Health(parts, optional=optional)


def _opened(
    settings: Settings, clock: Clock, ids: IdSource, base_url: str, api_key: str | None, served: ModelInfo | None
) -> tuple[Blobs, Router]:
    """Where files lie, and the model. Raises StartupError."""
    try:
        blobs = open_blobs(settings.blobs, (settings.data_dir or default_data_dir()) / "blobs")
        new_call_id = partial(ids.new, "call")
        return blobs, open_model(
            base_url, api_key, settings.models, embedded=served, now=clock.now, new_call_id=new_call_id
        )
    except (StorageError, CatalogError) as error:
        raise StartupError(str(error)) from None


def _open_search_engine(settings: Settings, pool: Pool, confinement: SandboxProbe, clock: Clock) -> SearchEngine:
    key = settings.embedding_api_key
    return open_search_engine(
        pool,
        confinement,
        (settings.data_dir or default_data_dir()) / "embeddings.log",
        now=clock.now,
        base_url=settings.embedding_base_url,
        model=settings.embedding_model,
        api_key=key.get_secret_value() if key is not None else None,
    )


async def _traces(stack: AsyncExitStack, feed: Feed) -> Traces | None:
    """Traces of requests and runs, where OpenTelemetry's own variables name an endpoint."""
    if not any(os.environ.get(name) for name in TRACES_TO):
        return None
    tracing = (await asyncio.to_thread(importlib.import_module, "service.telemetry.tracing")).open_tracing()
    stack.push_async_callback(tracing.close)
    feed.listen_to_threads(tracing)
    found: Traces = tracing
    return found


@asynccontextmanager
async def _supervised(
    settings: Settings,
    writer: Writer,
    ids: IdSource,
    model: Router,
    blobs: Blobs,
    keys: Keys,
    indexer: Indexer,
    tools: Tools,
    direct_url: str,
    couriers_of: Callable[[Peers], Couriers],
) -> AsyncIterator[tuple[Supervisor, IdempotencyKeys]]:
    """The supervisors, the couriers and this process's place among its peers, at work while the context lasts."""
    peers = Peers(direct_url, ids=ids, wake=writer.feed.wake)
    await peers.join()
    images = PromptImages(writer.pool, blobs, clock=writer.clock)
    supervisor = Supervisor(writer, model, peers, ids=ids, max_runs=settings.max_runs, images=images, tools=tools)
    bounds = {"max_jobs": settings.indexing_jobs, "lifetime": settings.indexing_timeout_s}
    indexing = IndexingSupervisor(writer, indexer, blobs, peers, ids=ids, **bounds)
    sweep, upkeep = Sweep(writer, blobs), Upkeep(writer, indexer)
    for listener in (supervisor, indexing, upkeep):
        peers.listen(listener)
    writer.feed.listen_to_threads(supervisor)
    writer.feed.listen_to_wakes(supervisor)
    writer.feed.listen_to_threads(peers)
    writer.feed.listen_to_stores(peers)
    writer.feed.listen_to_stores(indexing)
    writer.feed.listen_to_wakes(indexing)
    couriers = couriers_of(peers)
    writer.feed.listen_to_threads(couriers)
    writer.feed.listen_to_wakes(couriers)
    try:
        async with asyncio.TaskGroup() as tasks:
            once = IdempotencyKeys(writer.pool, peers, clock=writer.clock, ids=ids)
            supervised = (supervisor.run(), indexing.run(), couriers.run(), writer.feed.run(writer.pool))
            work = (
                peers.run(),
                *supervised,
                sweep.run(),
                upkeep.run(),
                keys.run(),
                keys.run_revocation_watch(),
                once.run(),
            )
            background = [tasks.create_task(one) for one in work]
            try:
                yield supervisor, once
            finally:
                for task in background:
                    task.cancel()
    finally:
        await peers.leave()


@asynccontextmanager
async def _made(making: Provisioning | None, serving: asyncio.Event) -> AsyncIterator[None]:
    """The sandbox's Python is made once we serve, where it is missing."""

    async def made() -> None:
        await serving.wait()
        if making is not None:
            await making.run()

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(made())
        try:
            yield
        finally:
            working.cancel()


@asynccontextmanager
async def _sandboxes(
    settings: Settings, code: CodeInterpreter, confinement: SandboxProbe, serving: asyncio.Event
) -> AsyncIterator[None]:
    """The sandboxes that code runs in, while the context lasts. Whether they can be had is found out once we serve."""
    if not code.on:
        yield
        return
    warm = Warm(LocalSandboxes(confinement, settings.code_limits), count=settings.code_warm)
    sessions = Sessions(warm, at_once=settings.code_sessions, idle_s=settings.code_idle_s)
    code.use(sessions, warm)

    async def warmed() -> None:
        await serving.wait()
        await warm.run()

    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(work) for work in (warmed(), sessions.run())]
        try:
            yield
        finally:
            for task in background:
                task.cancel()


@asynccontextmanager
async def _listening(settings: Settings, services: Services, traces: Traces | None) -> AsyncIterator[str]:
    runner = ApiRunner(make_app(services, traces), ids=services.log.ids, shutdown_timeout=SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise StartupError(f"Cannot listen at {where}: {error.strerror or error}. Choose another --port.") from None
        host, port = runner.addresses[0][:2]
        yield f"http://{_reachable(host)}:{port}/v1"
    finally:
        await runner.cleanup()


def _reachable(host: str) -> str:
    """A host that clients on this machine can use."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


async def _close_pool(pool: Pool) -> None:
    try:
        async with asyncio.timeout(SHUTDOWN_TIMEOUT):
            await pool.close()
    except TimeoutError:
        pool.terminate()
