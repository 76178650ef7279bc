"""The services that handlers work with, in wings: each handler takes from its application the wing that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aiohttp import web

from events.clock import Clock
from events.ids import IdSource
from events.objects import Step
from events.thread.commands import Claim
from projections.rows import Page
from service.access.control import AccessControl
from service.audit.acts import ActRecorder
from service.audit.attesters import AttestationCollector
from service.audit.sequencer import Sequencer
from service.audit.verifications import Verifications
from service.console.sessions import Sessions
from service.database import Pool, ReadReplica
from service.erasure.proof_reader import ErasureProofs
from service.feed import Feed
from service.forks.forks import Forks
from service.idempotency.keys import IdempotencyKeys
from service.organization.organization import Organization
from service.passthrough import Passthrough
from service.prices import PriceList
from service.replay.time_travel import TimeTravel, Viewer
from service.retention.operations import Retention
from service.search.base import Searcher
from service.storage.base import Blobs
from service.telemetry.health import PartHealth
from service.telemetry.metrics import Metrics
from service.vector_stores.services import VectorStoreServices
from service.webhooks.endpoints import Endpoints
from service.wire.replay import ReplayEntry
from service.workers.membership import Membership
from service.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """The log of events: the writer appends to it, the pool reads its views, and the feed follows it.

    `replica` serves reads of the views that may be a little old; None if there is none.
    """

    writer: Writer
    pool: Pool
    replica: ReadReplica | None
    feed: Feed
    clock: Clock
    ids: IdSource


class ClaimOffers(Protocol):
    """Offers a claim on a new run if this process has room for it. The supervisor of runs is one."""

    def offer(
        self, tools: Sequence[Mapping[str, Any]] = (), *, thread_id: str = ""
    ) -> AbstractContextManager[Claim | None]: ...


class KnownSteps(Protocol):
    """Returns a tool_calls step as of a version of its thread, if this process keeps it. The supervisor is one."""

    def find_step(self, thread_id: str, step_id: str, *, version: int) -> Step | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunControl:
    """Decides how runs begin, and knows the steps of those at work.

    `lifetime` is in seconds. `busy` says what happens to a run or a message if its thread has an active run and the
    request does not say it.
    """

    claims: ClaimOffers
    steps: KnownSteps
    lifetime: int
    busy: Literal["reject", "queue"]


class RunReplay(Protocol):
    """Reads the timeline of a run in pages. `service.replay.replay_pages.ReplayPages` is one.

    Its methods raise NotFound, Rejection and ReplayBusy.
    """

    async def read(
        self, viewer: Viewer, thread_id: str, run_id: str, *, after: int, limit: int
    ) -> Page[ReplayEntry]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchServices:
    """Searches vector stores."""

    searcher: Searcher
    rewrite_queries: Callable[[Sequence[str]], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditChecks:
    """Checks of history that people start: verifications of all of it, and what is left of deleted objects."""

    verifications: Verifications
    erasures: ErasureProofs


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """`health` reports the state of each part. `audit_log` counts the events that wait for their index in the log.

    `attestations` describes the witnesses and time stamp authorities of the log. `membership` collects the counts of
    all processes of this server, and knows which there are.
    """

    metrics: Metrics
    health: Callable[[], Awaitable[Mapping[str, PartHealth]]]
    audit_log: Sequencer
    attestations: AttestationCollector
    membership: Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The settings of the HTTP interface itself.

    `cors_origins` are the origins whose pages may call it. `public_url` is the address in links, None for the address
    of the request. `is_beta_strict`: requests must name their version. `is_metrics_open`: /metrics needs no key.
    `has_console`: the console is served. `allows_private_images`: images of messages may be at private hosts.
    `shows_quotes`: v2 shows the quotes of citations. `max_connections` and `max_peer_connections` bound the connections
    open at once, in all and from one address.
    """

    cors_origins: Sequence[str]
    public_url: str | None
    is_beta_strict: bool
    is_metrics_open: bool
    has_console: bool
    allows_private_images: bool
    shows_quotes: bool
    max_connections: int
    max_peer_connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All wings, for `service.http.application.make_app`."""

    log: EventLog
    access: AccessControl
    acts: ActRecorder
    audit_checks: AuditChecks
    blobs: Blobs
    runs: RunControl
    time_travel: TimeTravel
    replay: RunReplay
    forks: Forks
    search: SearchServices
    vector_stores: VectorStoreServices
    telemetry: Telemetry
    idempotency: IdempotencyKeys
    passthrough: Passthrough
    prices: PriceList
    webhooks: Endpoints
    organization: Organization
    retention: Retention
    console: Sessions
    settings: HttpSettings

    def install(self, app: web.Application) -> None:
        app[LOG] = self.log
        app[ACCESS] = self.access
        app[ACTS] = self.acts
        app[AUDIT_CHECKS] = self.audit_checks
        app[BLOBS] = self.blobs
        app[RUNS] = self.runs
        app[TIME_TRAVEL] = self.time_travel
        app[REPLAY] = self.replay
        app[FORKS] = self.forks
        app[SEARCH] = self.search
        app[VECTOR_STORES] = self.vector_stores
        app[TELEMETRY] = self.telemetry
        app[IDEMPOTENCY] = self.idempotency
        app[PASSTHROUGH] = self.passthrough
        app[PRICES] = self.prices
        app[WEBHOOKS] = self.webhooks
        app[ORGANIZATION] = self.organization
        app[RETENTION] = self.retention
        app[CONSOLE] = self.console
        app[SETTINGS] = self.settings


LOG: web.AppKey[EventLog] = web.AppKey("log", EventLog)
ACCESS: web.AppKey[AccessControl] = web.AppKey("access", AccessControl)
ACTS: web.AppKey[ActRecorder] = web.AppKey("acts", ActRecorder)
AUDIT_CHECKS: web.AppKey[AuditChecks] = web.AppKey("audit_checks", AuditChecks)
BLOBS: web.AppKey[Blobs] = web.AppKey("blobs")
RUNS: web.AppKey[RunControl] = web.AppKey("runs", RunControl)
TIME_TRAVEL: web.AppKey[TimeTravel] = web.AppKey("time_travel", TimeTravel)
REPLAY: web.AppKey[RunReplay] = web.AppKey("replay")
FORKS: web.AppKey[Forks] = web.AppKey("forks", Forks)
SEARCH: web.AppKey[SearchServices] = web.AppKey("search", SearchServices)
VECTOR_STORES: web.AppKey[VectorStoreServices] = web.AppKey("vector_stores", VectorStoreServices)
TELEMETRY: web.AppKey[Telemetry] = web.AppKey("telemetry", Telemetry)
IDEMPOTENCY: web.AppKey[IdempotencyKeys] = web.AppKey("idempotency", IdempotencyKeys)
PASSTHROUGH: web.AppKey[Passthrough] = web.AppKey("passthrough")
PRICES: web.AppKey[PriceList] = web.AppKey("prices")
WEBHOOKS: web.AppKey[Endpoints] = web.AppKey("webhooks", Endpoints)
ORGANIZATION: web.AppKey[Organization] = web.AppKey("organization", Organization)
RETENTION: web.AppKey[Retention] = web.AppKey("retention", Retention)
CONSOLE: web.AppKey[Sessions] = web.AppKey("console", Sessions)
SETTINGS: web.AppKey[HttpSettings] = web.AppKey("settings", HttpSettings)
