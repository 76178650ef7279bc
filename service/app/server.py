"""The server: which parts it has, and the order in which they start. They stop in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from events.clock import Clock
from service.app.console_link import make_console_url
from service.app.core import Core, Upstreams, open_core
from service.app.drain import open_drain, retire
from service.app.health import collect_health
from service.app.snapshots import snapshot_source
from service.app.toolbox import Toolbox, open_toolbox
from service.audit.lifespan import (
    attestations_lifespan,
    audit_lifespan,
    checkpoints_lifespan,
    run_checks_lifespan,
    sequencer_lifespan,
)
from service.audit.verifications import Verifications
from service.console.sessions import Sessions
from service.database import Pool
from service.embedded.data_dir import default_data_dir
from service.erasure.key_epochs import EpochRules, KeyEpochs
from service.erasure.lifespan import erasure_lifespan
from service.erasure.proof_reader import ErasureProofs
from service.files.lifespan import files_lifespan
from service.forks.forks import Forks
from service.http.connections import raise_file_limit
from service.http.lifespan import http_lifespan, load_tls
from service.http.services import AuditChecks, EventLog, HttpSettings, RunControl, SearchServices, Services, Telemetry
from service.idempotency.lifespan import idempotency_lifespan
from service.organization.organization import Organization
from service.replay.generation_fill import generations_lifespan
from service.replay.model_lookup import open_lookup
from service.replay.replay_pages import ReplayPages
from service.replay.time_travel import TimeTravel
from service.retention.lifespan import retention_lifespan
from service.retention.operations import Retention
from service.runs.lifespan import runs_lifespan
from service.runs.supervisor import Supervisor
from service.search.base import SearchEngine
from service.search.query_rewrite import QueryRewriter
from service.settings import Settings
from service.system import SystemClock
from service.tasks.background import background
from service.thread_search.follower import thread_search_lifespan
from service.usage.follower import usage_lifespan
from service.vector_stores.lifespan import vector_stores_lifespan
from service.webhooks.lifespan import webhooks_lifespan
from service.workers.membership import Membership
from service.writer import Writer


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
    on_console: Callable[[str], None] | None = None,
    search_engine: Callable[[Pool], SearchEngine] | None = None,
    clock: Clock | None = None,
    membership: Membership | None = None,
) -> None:
    """Runs the server until cancelled. Calls `ready` with the base URL after it listens. Raises StartupError.

    `on_console` is called before `ready` with the console's URL, if it is served.
    `owner_url` is the database's URL for the owner of its tables, who migrates it; None if that is the role of
    `database_url`. `api_key` is the key of the default project. `model_base_url` ends in /v1; `embedded_model` if it
    leads to the embedded model. Tests replace the clock, and the search engine of the settings. `membership` is that of
    a worker.
    """
    raise_file_limit()
    member = membership or Membership(is_alone=owner_url is not None)
    serving, tls = asyncio.Event(), load_tls(settings.tls_cert, settings.tls_key)
    upstreams = Upstreams(
        database_url=database_url,
        owner_url=owner_url,
        model_base_url=model_base_url,
        model_api_key=model_api_key,
        is_model_embedded=embedded_model,
    )
    async with AsyncExitStack() as stack:
        core = await open_core(stack, settings, upstreams, member, api_key=api_key, clock=clock or SystemClock())
        toolbox = await open_toolbox(stack, settings, core, member, search_engine=search_engine, serving=serving)
        services, supervisor = await _open_services(stack, settings, core, toolbox, member)
        # Must be complete before the supervisor of runs is stopped, and takes place while the HTTP server stops.
        drain = await stack.enter_async_context(open_drain(supervisor.drain, core.break_off))
        http = await stack.enter_async_context(
            http_lifespan(
                services,
                core.instruments.tracing,
                host=settings.host,
                port=settings.port,
                tls=tls,
                listeners=member.listeners,
            )
        )
        if on_console is not None and services.settings.has_console:
            on_console(await make_console_url(services.console, core.access.keys.server_key, http.base_url))
        ready(http.base_url)
        serving.set()
        try:
            await member.retirement.wait()
            await retire(http, supervisor, member.patience_s)
        finally:
            drain.begin()


async def _open_services(
    stack: AsyncExitStack, settings: Settings, core: Core, toolbox: Toolbox, member: Membership
) -> tuple[Services, Supervisor]:
    """Opens the parts that HTTP needs, and the supervisor of runs, which starts last, and so stops first."""
    enter, clock, ids = stack.enter_async_context, core.clock, core.ids
    pool, writer, peers, indexer = core.pool, core.writer, core.peers, toolbox.engine.indexer
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
            open_places=member.open_places,
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
    await enter(thread_search_lifespan(pool))
    await enter(
        erasure_lifespan(
            writer, core.blobs, indexer, peers, folder=audit_folder, has_restored=settings.restored is not None
        )
    )
    await enter(retention_lifespan(writer))
    await enter(_key_epochs(settings, writer, process=peers.process))
    generations = await enter(generations_lifespan(pool, core.direct_url))
    metrics, allow_private = core.instruments.metrics, settings.webhooks_allow_private
    webhooks = await enter(webhooks_lifespan(writer, peers, metrics, allow_private=allow_private))
    tools, max_runs = toolbox.hosted.tools, settings.max_runs
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
            sessions=member.sessions,
        )
    )
    rewriter = QueryRewriter(core.model, settings.rewrite_model)
    time_travel = TimeTravel(pool, clock)
    health = collect_health(settings, core, toolbox, sequencer, checkpoints, attestations, run_checks, generations)
    await enter(background(health.run()))
    member.take_snapshot = snapshot_source(
        metrics,
        pool,
        sandboxes=toolbox.hosted.code,
        streams=core.access.streams,
        audit_log=sequencer,
        run_checks=run_checks.ended,
    )
    services = Services(
        log=EventLog(writer=writer, pool=pool, replica=core.replica, feed=core.feed, clock=clock, ids=ids),
        access=core.access,
        acts=acts,
        audit_checks=AuditChecks(verifications=Verifications(core.direct_url), erasures=ErasureProofs(core.direct_url)),
        blobs=core.blobs,
        runs=RunControl(claims=supervisor, steps=supervisor, lifetime=settings.run_expires_s, busy=settings.busy),
        time_travel=time_travel,
        replay=ReplayPages(time_travel, open_lookup(settings.model_base_url, settings.models)),
        forks=Forks(writer, time_travel),
        search=SearchServices(searcher=toolbox.engine.searcher, rewrite_queries=rewriter.rewrite),
        vector_stores=vector_stores,
        telemetry=Telemetry(
            metrics=metrics,
            health=health.parts,
            audit_log=sequencer,
            attestations=attestations,
            membership=member,
        ),
        idempotency=idempotency,
        passthrough=core.model.relay,
        prices=core.model.prices,
        webhooks=webhooks,
        organization=Organization(writer),
        retention=Retention(writer),
        console=Sessions(writer, core.access.signer, clock=clock, ids=ids),
        settings=http_settings(settings),
    )
    return services, supervisor


def _key_epochs(settings: Settings, writer: Writer, *, process: int) -> AbstractAsyncContextManager[None]:
    """Returns the context of the epochs. Only the embedded Postgres is surely that of one data directory."""
    source = settings.encryption_keys(settings.data_dir or default_data_dir())
    rules = EpochRules(
        epoch_days=settings.key_epoch_days,
        term_days=settings.key_term_days,
        makes_keys=source.is_own_file and settings.database_url is None,
    )
    return background(KeyEpochs(writer, source, rules, process=process).run())


def http_settings(settings: Settings) -> HttpSettings:
    return HttpSettings(
        cors_origins=settings.allowed_origins,
        public_url=settings.public_url,
        is_beta_strict=settings.beta == "strict",
        is_metrics_open=settings.metrics == "open",
        has_console=settings.console == "on",
        allows_private_images=settings.images_allow_private,
        shows_quotes=settings.quotes == "on",
        max_connections=settings.max_connections,
        max_peer_connections=settings.max_peer_connections,
    )
