"""The parts that all others of the server share: the database, the log's writer, access, and this process's peers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from events.clock import Clock
from events.envelope import RecordedEvent
from events.ids import IdSource
from events.thread.events import ThreadEvent
from events.thread.state import ThreadState
from events.vector_store.events import VectorStoreEvent
from service.access.control import AccessControl
from service.access.lifespan import access_lifespan
from service.audit.attesters import Attester
from service.audit.pushes import PushTarget, open_targets
from service.audit.signing_key import KeySource, Signer, open_signer
from service.audit.witnesses import open_witnesses
from service.database import Pool, ReadReplica, close_pool, connect, open_pool, open_replica, wait_until_reachable
from service.embedded.data_dir import default_data_dir
from service.embedded.postgres_roles import SERVICE_ROLE
from service.errors import StartupError
from service.feed import Feed
from service.files.blob_marker import check_blob_marker
from service.migrations import prepare_database
from service.model.catalog import CatalogError
from service.model.lifespan import model_lifespan
from service.model.router import Router
from service.processes.lifespan import peers_lifespan
from service.processes.peers import Peers
from service.secrets.encryption import prepare_encryption, read_keys
from service.settings import Settings
from service.storage.base import Blobs, StorageError
from service.storage.factory import open_blobs
from service.storage.sealed_blobs import SealedBlobs
from service.system import RandomIds
from service.tasks.background import background
from service.telemetry.lifespan import Instruments, telemetry_lifespan
from service.workers.membership import Membership
from service.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
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
class Core:
    """The parts that all others share. `direct_url` is the database's without a pooler, for connections with state.

    `replica` is None unless the settings name one.
    """

    direct_url: str
    clock: Clock
    ids: IdSource
    signer: Signer
    targets: Sequence[PushTarget]
    attesters: Sequence[Attester]
    blobs: Blobs
    model: Router
    pool: Pool
    replica: ReadReplica | None
    feed: Feed
    writer: Writer
    instruments: Instruments
    access: AccessControl
    peers: Peers

    def break_off(self) -> None:
        """Closes all connections to the database at once. Work that waits for them fails."""
        self.pool.terminate()
        if self.replica is not None:
            self.replica.pool.terminate()
        self.peers.break_off()


async def open_core(
    stack: AsyncExitStack, settings: Settings, upstreams: Upstreams, member: Membership, *, api_key: str, clock: Clock
) -> Core:
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
    await _prepare_database(settings, upstreams)
    pool = await open_pool(upstreams.database_url, member.pool_size)
    stack.push_async_callback(close_pool, pool)
    await check_blob_marker(pool, blobs, place=settings.blobs or str(folder), new_marker=ids.token(16))
    feed = Feed()
    await enter(background(feed.run(pool)))
    replica = await _open_replica(stack, settings, pool, feed, member)
    direct = settings.database_direct_url
    direct_url = direct.get_secret_value() if direct else upstreams.database_url
    return Core(
        direct_url=direct_url,
        clock=clock,
        ids=ids,
        signer=signer,
        targets=targets,
        attesters=attesters,
        blobs=SealedBlobs(blobs, pool.acquire),
        model=model,
        pool=pool,
        replica=replica,
        feed=feed,
        writer=Writer(pool, feed, clock=clock, ids=ids),
        instruments=await enter(telemetry_lifespan(feed)),
        access=await enter(
            access_lifespan(
                pool,
                feed,
                api_key=api_key,
                storage_quota=settings.storage_quota_bytes,
                clock=clock,
                ids=ids,
                buckets=member.buckets,
            )
        ),
        peers=await enter(peers_lifespan(direct_url, feed, pool, ids=ids, is_alone=member.is_alone)),
    )


class _WrittenProjects:
    """Notes the projects of the events of this process, so that no read from the replica lacks them."""

    def __init__(self, replica: ReadReplica) -> None:
        self._replica = replica

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[ThreadEvent]], state: ThreadState
    ) -> None:
        self._note(recorded)

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[VectorStoreEvent]]) -> None:
        self._note(recorded)

    def _note(self, recorded: Sequence[RecordedEvent[Any]]) -> None:
        if recorded:
            self._replica.note_write(recorded[0].project_id)


async def _open_replica(
    stack: AsyncExitStack, settings: Settings, pool: Pool, feed: Feed, member: Membership
) -> ReadReplica | None:
    if settings.read_url is None:
        return None
    url, max_lag_s = settings.read_url.get_secret_value(), settings.read_max_lag_s
    replica = await stack.enter_async_context(open_replica(url, pool, max_lag_s=max_lag_s, max_size=member.pool_size))
    projects = _WrittenProjects(replica)
    feed.listen_to_threads(projects)
    feed.listen_to_stores(projects)
    return replica


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


async def _prepare_database(settings: Settings, upstreams: Upstreams) -> None:
    """Migrates the database, and checks that the keys of its encryption are here. A new one may become encrypted."""
    source, owner_url = settings.encryption_keys(settings.data_dir or default_data_dir()), upstreams.owner_url
    keys = await read_keys(source)
    await prepare_database(owner_url or upstreams.database_url, service_role=SERVICE_ROLE if owner_url else None)
    db = await connect(owner_url or upstreams.database_url)
    try:
        await prepare_encryption(db, source, keys, wants_encryption=settings.encryption == "on")
    finally:
        await db.close()
