"""Starts and stops the audit of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from events.actors import ProcessActor
from events.envelope import Origin
from events.ids import IdSource
from events.installation import INSTALLATION_PROJECT, UseLogKey
from service.audit.acts import ActRecorder, write_installation
from service.audit.attesters import AttestationCollector, Attester
from service.audit.checkpoint_signer import CheckpointSigner, verifier_key
from service.audit.clients import ClientRecorder
from service.audit.kept_checkpoints import CheckpointFolder
from service.audit.log_tree import load_epoch
from service.audit.pushes import CheckpointPusher, PushTarget
from service.audit.restores import check_history
from service.audit.run_checks import RunChecker
from service.audit.sequencer import Sequencer
from service.audit.signing_key import Signer
from service.feed import Feed
from service.processes.peers import Peers
from service.tasks.background import background
from service.writer import Writer


@asynccontextmanager
async def audit_lifespan(
    writer: Writer, *, process: int, settings: Mapping[str, str], client_days: int, ids: IdSource
) -> AsyncIterator[ActRecorder]:
    """Yields the recorder of acts, after it has recorded this start. `settings` are those that it names.

    The clients of requests are kept for `client_days` days; 0: they are not recorded.
    """
    clients = ClientRecorder(writer.pool, keep_days=client_days, clock=writer.clock, ids=ids)
    acts = ActRecorder(writer, clients, process=process)
    async with writer.pool.acquire() as db:
        epoch = await load_epoch(db)
    await acts.start(settings, installation=epoch.installation)
    async with background(clients.run(), clients.run_sweep()), background(acts.run_writes(), acts.run()):
        yield acts


@asynccontextmanager
async def sequencer_lifespan(
    writer: Writer, feed: Feed, peers: Peers, folder: Path, *, restored: str | None
) -> AsyncIterator[Sequencer]:
    """Yields the sequencer of this process, which works in the background and is woken by appends.

    `folder` has the kept checkpoints, and `restored` is the operator's reason for an older state of the database.
    Raises StartupError if the database is in an older state without one (`service.audit.restores`).
    """
    origin = Origin(INSTALLATION_PROJECT, ProcessActor(peers.process))
    await check_history(writer, CheckpointFolder(folder), origin, reason=restored)
    sequencer = Sequencer(writer.pool, peers)
    feed.listen_to_threads(sequencer)
    feed.listen_to_stores(sequencer)
    feed.listen_to_wakes(sequencer)
    async with background(sequencer.run()):
        yield sequencer


@asynccontextmanager
async def checkpoints_lifespan(
    writer: Writer,
    peers: Peers,
    signer: Signer,
    sequencer: Sequencer,
    *,
    folder: Path,
    targets: Sequence[PushTarget],
) -> AsyncIterator[CheckpointSigner]:
    """Yields the signer of checkpoints of this process, which works in the background.

    The key that it signs with is recorded if it is not the one in use. `folder` keeps checkpoints, and `targets` get
    those that are kept. If the database goes back to an older state, the sequencer of this process stops.
    """
    async with writer.pool.acquire() as db:
        epoch = await load_epoch(db)
    origin = Origin(INSTALLATION_PROJECT, ProcessActor(peers.process))
    await write_installation(writer, origin, UseLogKey(str(verifier_key(epoch, signer))))
    pusher = CheckpointPusher(targets)
    checkpoints = CheckpointSigner(
        writer.pool,
        peers,
        signer,
        clock=writer.clock,
        folder=CheckpointFolder(folder),
        on_regression=sequencer.halt,
        pusher=pusher,
    )
    async with background(checkpoints.run(), pusher.run()):
        yield checkpoints


@asynccontextmanager
async def attestations_lifespan(writer: Writer, attesters: Sequence[Attester]) -> AsyncIterator[AttestationCollector]:
    """Yields the collector of attestations, which asks the attesters about kept checkpoints in the background."""
    collector = AttestationCollector(writer.pool, attesters, clock=writer.clock)
    async with background(collector.run()):
        yield collector


@asynccontextmanager
async def run_checks_lifespan(feed: Feed, database_url: str, *, every: int) -> AsyncIterator[RunChecker]:
    """Yields the checker of one in `every` runs, which works in the background; 0 for none."""
    checker = RunChecker(database_url, every=every)
    feed.listen_to_threads(checker)
    async with background(checker.run()):
        yield checker
