"""The server: which parts it has, and the order in which they start. They stop in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from events.clock import Clock
from events.ids import IdSource
from service import database
from service.access.control import AccessControl
from service.access.lifespan import access_lifespan
from service.audit.attesters import AttestationCollector, Attester
from service.audit.checkpoint_signer import CheckpointSigner
from service.audit.lifespan import (
    attestations_lifespan,
    audit_lifespan,
    checkpoints_lifespan,
    run_checks_lifespan,
    sequencer_lifespan,
)
from service.audit.pushes import PushTarget, open_targets
from service.audit.run_checks import RunChecker
from service.audit.sequencer import Sequencer
from service.audit.signing_key import KeySource, Signer, open_signer
from service.audit.witnesses import open_witnesses
from service.database import Pool, close_pool, open_pool, wait_until_reachable
from service.embedded.data_dir import default_data_dir
from service.embedded.postgres_roles import SERVICE_ROLE
from service.errors import StartupError
from service.feed import Feed
from service.files.blob_marker import check_blob_marker
from service.files.lifespan import files_lifespan
from service.forks.forks import Forks
from service.http.connections import raise_file_limit
from service.http.lifespan import http_lifespan, load_tls
from service.http.services import EventLog, HttpSettings, RunControl, SearchServices, Services, Telemetry
from service.idempotency.lifespan import idempotency_lifespan
from service.migrations import prepare_database
from service.model.catalog import CatalogError
from service.model.lifespan import model_lifespan
from service.model.router import Router
from service.organization.organization import Organization
from service.processes.lifespan import peers_lifespan
from service.processes.peers import Peers
from service.replay.generation_fill import GenerationFill, generations_lifespan
from service.replay.model_lookup import open_lookup
from service.replay.replay_pages import ReplayPages
from service.replay.time_travel import TimeTravel
from service.runs.lifespan import runs_lifespan
from service.sandbox.base import MIB
from service.sandbox.lifespan import sandbox_lifespan, sessions_lifespan
from service.sandbox.pool import SessionPool
from service.sandbox.probe import SandboxProbe
from service.search.base import SearchEngine
from service.search.factory import open_search_engine
from service.search.parse.sandbox_process import describe_fallback
from service.search.query_rewrite import QueryRewriter
from service.settings import Settings
from service.storage.base import Blobs, StorageError
from service.storage.factory import open_blobs
from service.system import RandomIds, SystemClock
from service.tasks.background import background
from service.telemetry.disk_space import DiskSpace
from service.telemetry.health import Health
from service.telemetry.lifespan import Instruments, telemetry_lifespan
from service.tool_adapters.factory import ToolServices, open_tools
from service.usage.follower import usage_lifespan
from service.vector_stores.lifespan import vector_stores_lifespan
from service.webhooks.lifespan import webhooks_lifespan
from service.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upstreams:
    """The addresses of the processes that the server needs, and the keys for them.

    `owner_url` is that of the owner of the tables, or None if the service's role owns them.
    `model_base_url` ends in /v1. `is_model_embedded` if it leads to the embedded model.
    """

    database_url: str
    owner_url: str | None
    model_base_url: str
    model_api_key: str | None
    is_model_embedded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """The parts that all others share. `direct_url` is the database's without a pooler, for connections with state."""

    direct_url: str
    clock: Clock
    ids: IdSource
    signer: Signer
    targets: Sequence[PushTarget]
    attesters: Sequence[Attester]
    blobs: Blobs
    model: Router
    pool: Pool
    feed: Feed
    writer: Writer
    instruments: Instruments
    access: AccessControl
    peers: Peers


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToolServices:
    """Search, the sandbox, and the hosted tools that use them."""

    probe: SandboxProbe
    engine: SearchEngine
    hosted: ToolServices


async def serve(
    settings: Settings,
    *,
    database_url: str,
    owner_url: str | None,
    api_key: str,
    model_base_url: str,
    model_api_key: str | None,
    embedded_model: bool,
    ready: Callable[[str], None],
    search_engine: Callable[[Pool], SearchEngine] | None = None,
    clock: Clock | None = None,
) -> None:
    """Runs the server until cancelled. Calls `ready` with the base URL after it listens. Raises StartupError.

    `owner_url` is the database's URL for the owner of its tables, who migrates it; None if that is the role of
    `database_url`. `api_key` is the key of the default project. `model_base_url` ends in /v1; `embedded_model` if it
    leads to the embedded model. Tests replace the clock, and the search engine of the settings.
    """
    raise_file_limit()
    serving, tls = asyncio.Event(), load_tls(settings.tls_cert, settings.tls_key)
    upstreams = _Upstreams(
        database_url=database_url,
        owner_url=owner_url,
        model_base_url=model_base_url,
        model_api_key=model_api_key,
        is_model_embedded=embedded_model,
    )
    async with AsyncExitStack() as stack:
        core = await _open_core(stack, settings, upstreams, api_key=api_key, clock=clock or SystemClock())
        tooling = await _open_tooling(stack, settings, core, search_engine=search_engine, serving=serving)
        services = await _open_services(stack, settings, core, tooling)
        base_url = await stack.enter_async_context(
            http_lifespan(services, core.instruments.tracing, host=settings.host, port=settings.port, tls=tls)
        )
        ready(base_url)
        serving.set()
        await asyncio.Event().wait()


async def _open_core(
    stack: AsyncExitStack, settings: Settings, upstreams: _Upstreams, *, api_key: str, clock: Clock
) -> _Core:
    enter, ids = stack.enter_async_context, RandomIds()
    home = settings.data_dir or default_data_dir()
    folder, signer = home / "blobs", await open_signer(_log_key(settings), home / "audit")
    try:
        targets = open_targets(settings.log_push_places)
    except ValueError as error:
        raise StartupError(f"EVERTHREAD_LOG_PUSH: {error}") from None
    attesters = _open_attesters(settings, clock)
    try:
        blobs = open_blobs(settings.blobs, folder)
        model = await enter(
            model_lifespan(
                upstreams.model_base_url,
                upstreams.model_api_key,
                models_file=settings.models,
                is_embedded=upstreams.is_model_embedded,
                now=clock.now,
                new_call_id=partial(ids.new, "call"),
            )
        )
    except (StorageError, CatalogError) as error:
        raise StartupError(str(error)) from None
    await wait_until_reachable(upstreams.database_url, settings.database_wait_s)
    if upstreams.owner_url is None:
        await prepare_database(upstreams.database_url)
    else:
        await prepare_database(upstreams.owner_url, service_role=SERVICE_ROLE)
    pool = await open_pool(upstreams.database_url)
    stack.push_async_callback(close_pool, pool)
    await check_blob_marker(pool, blobs, place=settings.blobs or str(folder), new_marker=ids.token(16))
    feed = Feed()
    await enter(background(feed.run(pool)))
    direct = settings.database_direct_url
    direct_url = direct.get_secret_value() if direct else upstreams.database_url
    return _Core(
        direct_url=direct_url,
        clock=clock,
        ids=ids,
        signer=signer,
        targets=targets,
        attesters=attesters,
        blobs=blobs,
        model=model,
        pool=pool,
        feed=feed,
        writer=Writer(pool, feed, clock=clock, ids=ids),
        instruments=await enter(telemetry_lifespan(feed)),
        access=await enter(
            access_lifespan(
                pool, feed, api_key=api_key, storage_quota=settings.storage_quota_bytes, clock=clock, ids=ids
            )
        ),
        peers=await enter(peers_lifespan(direct_url, feed, ids=ids)),
    )


async def _open_tooling(
    stack: AsyncExitStack,
    settings: Settings,
    core: _Core,
    *,
    search_engine: Callable[[Pool], SearchEngine] | None,
    serving: asyncio.Event,
) -> _ToolServices:
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
            sessions_lifespan(probe, limits, warm=warm, at_once=at_once, idle_s=idle_s, serving=serving)
        )
    engine = search_engine(core.pool) if search_engine is not None else _open_search_engine(settings, core, probe)
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
    return _ToolServices(probe=probe, engine=engine, hosted=hosted)


async def _open_services(stack: AsyncExitStack, settings: Settings, core: _Core, tooling: _ToolServices) -> Services:
    """Opens the parts that HTTP needs. The execution of runs starts last, and so stops first."""
    enter, clock, ids = stack.enter_async_context, core.clock, core.ids
    pool, writer, peers, indexer = core.pool, core.writer, core.peers, tooling.engine.indexer
    audit_folder = (settings.data_dir or default_data_dir()) / "audit"
    sequencer = await enter(sequencer_lifespan(writer, core.feed, peers, audit_folder, restored=settings.restored))
    idempotency = await enter(idempotency_lifespan(pool, peers, clock=clock, ids=ids))
    await enter(files_lifespan(writer, core.blobs))
    vector_stores = await enter(
        vector_stores_lifespan(
            writer,
            indexer,
            core.blobs,
            peers,
            check_quota=core.access.storage.require_free,
            ids=ids,
            max_jobs=settings.indexing_jobs,
            job_timeout_s=settings.indexing_timeout_s,
            max_files=settings.max_store_files,
        )
    )
    acts = await enter(
        audit_lifespan(
            writer,
            process=peers.process,
            settings=settings.describe_changes(),
            client_days=settings.audit_client_days if settings.audit_client == "on" else 0,
            ids=ids,
        )
    )
    checkpoints = await enter(
        checkpoints_lifespan(writer, peers, core.signer, sequencer, folder=audit_folder, targets=core.targets)
    )
    attestations = await enter(attestations_lifespan(writer, core.attesters))
    run_checks = await enter(run_checks_lifespan(core.feed, core.direct_url, every=settings.verify_runs))
    await enter(usage_lifespan(pool))
    generations = await enter(generations_lifespan(pool, core.direct_url))
    metrics, allow_private = core.instruments.metrics, settings.webhooks_allow_private
    webhooks = await enter(webhooks_lifespan(writer, peers, metrics, allow_private=allow_private))
    tools, max_runs = tooling.hosted.tools, settings.max_runs
    supervisor = await enter(
        runs_lifespan(
            writer,
            core.model,
            peers,
            blobs=core.blobs,
            tools=tools,
            ids=ids,
            max_runs=max_runs,
            allows_private_images=settings.images_allow_private,
        )
    )
    rewriter = QueryRewriter(core.model, settings.rewrite_model)
    time_travel = TimeTravel(pool, clock)
    health = _health(settings, core, tooling, sequencer, checkpoints, attestations, run_checks, generations)
    await enter(background(health.run()))
    return Services(
        log=EventLog(writer=writer, pool=pool, feed=core.feed, clock=clock, ids=ids),
        access=core.access,
        acts=acts,
        blobs=core.blobs,
        runs=RunControl(claims=supervisor, lifetime=settings.run_expires_s, busy=settings.busy),
        time_travel=time_travel,
        replay=ReplayPages(time_travel, open_lookup(settings.model_base_url, settings.models)),
        forks=Forks(writer, time_travel),
        search=SearchServices(searcher=tooling.engine.searcher, rewrite_queries=rewriter.rewrite),
        vector_stores=vector_stores,
        telemetry=Telemetry(
            metrics=metrics,
            health=health.parts,
            sandboxes=tooling.hosted.code,
            audit_log=sequencer,
            attestations=attestations,
            run_checks=run_checks,
        ),
        idempotency=idempotency,
        passthrough=core.model.relay,
        prices=core.model.prices,
        webhooks=webhooks,
        organization=Organization(writer),
        settings=_http_settings(settings),
    )


def _open_search_engine(settings: Settings, core: _Core, probe: SandboxProbe) -> SearchEngine:
    key = settings.embedding_api_key
    return open_search_engine(
        core.pool,
        probe,
        (settings.data_dir or default_data_dir()) / "embeddings.log",
        now=core.clock.now,
        base_url=settings.embedding_base_url,
        model=settings.embedding_model,
        api_key=key.get_secret_value() if key is not None else None,
    )


def _log_key(settings: Settings) -> KeySource:
    key, command = settings.log_key, settings.log_sign_command
    return KeySource(
        file=settings.log_key_file,
        key=None if key is None else key.get_secret_value(),
        command=None if command is None else command.get_secret_value(),
        public_key=settings.log_public_key,
    )


def _open_attesters(settings: Settings, clock: Clock) -> list[Attester]:
    try:
        witnesses = open_witnesses(settings.witnesses, clock=clock)
    except ValueError as error:
        raise StartupError(f"EVERTHREAD_WITNESSES: {error}") from None
    url, certificates = settings.tsa_url, settings.tsa_certificates
    if url is None or certificates is None:
        return [*witnesses]
    from service.audit.time_stamps import load_roots, open_authority

    try:
        roots = load_roots(certificates)
    except ValueError as error:
        raise StartupError(f"EVERTHREAD_TSA_CERTIFICATES: {error}") from None
    try:
        return [*witnesses, open_authority(url.get_secret_value(), roots, clock=clock)]
    except ValueError as error:
        raise StartupError(f"EVERTHREAD_TSA_URL: {error}") from None


def _health(
    settings: Settings,
    core: _Core,
    tooling: _ToolServices,
    sequencer: Sequencer,
    checkpoints: CheckpointSigner,
    attestations: AttestationCollector,
    run_checks: RunChecker,
    generations: GenerationFill,
) -> Health:
    home = settings.data_dir or default_data_dir()
    folders = {"the data directory": home, "the files": home / "blobs", "the embedded Postgres": home / "postgres"}
    required = {
        "database": lambda: database.healthy(core.pool),
        "model": core.model.check_health,
        "disk": DiskSpace(folders, min_free=settings.min_free_disk_mb * MIB).check,
        "upgrade": core.peers.check_epoch,
    }
    optional = {
        "code_interpreter": tooling.hosted.code.state,
        "file_parsing": lambda: describe_fallback(tooling.probe),
    }
    degrading = {
        "audit_log": sequencer.check_health,
        "checkpoints": checkpoints.check_health,
        "views": run_checks.check_health,
        "view_generations": generations.check_health,
    }
    if core.attesters:
        degrading["attestations"] = attestations.check_health
    return Health(required, degrading=degrading, optional=optional)


def _http_settings(settings: Settings) -> HttpSettings:
    return HttpSettings(
        cors_origins=settings.allowed_origins,
        public_url=settings.public_url,
        is_beta_strict=settings.beta == "strict",
        is_metrics_open=settings.metrics == "open",
        allows_private_images=settings.images_allow_private,
        shows_quotes=settings.quotes == "on",
        max_connections=settings.max_connections,
        max_peer_connections=settings.max_peer_connections,
    )
