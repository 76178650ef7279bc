"""Asks other parties to attest kept checkpoints, off the path of appends and of the signing.

Each party is asked by one process at a time, about the newest kept checkpoint only, and again later after a failure. A
party that is slow or lies holds up nothing but its own attestations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog

from events.clock import Clock
from service.audit.attestations import (
    Attestation,
    AttestationKind,
    AttesterState,
    CheckpointClaim,
    claim_checkpoint,
    load_states,
    put_off,
    store_attestation,
)
from service.audit.log_tree import LogFault, load_epoch, load_hashes, load_size
from service.audit.merkle import consistency_nodes, consistency_proof
from service.database import Pool
from service.processes.scan_loop import ScanLoop

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
# Seconds that an attester may take for all requests about a checkpoint, and until another process may ask instead.
ATTEST_S = 30.0
CLAIM_S = 60.0
# Seconds until the request is repeated after the first failure. They double with each failure up to the second number.
RETRY_S = 5.0
MAX_RETRY_S = 600.0
# /healthz reports an attester that has not attested for so many seconds, and at once if it contradicts the log.
MAX_WAITING_S = 600.0

# Returns the consistency proof between two sizes of the log. Raises LogFault.
Prover = Callable[[int, int], Awaitable[list[bytes]]]


class AttestationError(Exception):
    """An attester did not attest. The message says why; it goes to the operator and holds no secret.

    `is_serious` if the attester contradicts the log. `seen_size` is the number of events of the log that it says it has
    seen, if that is more than the checkpoint has.
    """

    def __init__(self, message: str, *, is_serious: bool = False, seen_size: int = 0) -> None:
        super().__init__(message)
        self.is_serious = is_serious
        self.seen_size = seen_size


class Attester(Protocol):
    """A party that attests checkpoints.

    `id` identifies it in the database, `name` in messages. It is asked every `every_s` seconds, or about each kept
    checkpoint if that is 0.
    """

    id: str
    name: str
    kind: AttestationKind
    every_s: float

    async def attest(self, claim: CheckpointClaim, prove: Prover) -> Attestation:
        """Returns the verified statement of the party about the checkpoint. Raises AttestationError and LogFault."""


class AttestationCollector:
    """Asks the attesters of this process as long as `run` runs."""

    def __init__(self, pool: Pool, attesters: Sequence[Attester], *, clock: Clock) -> None:
        self._pool = pool
        self._attesters = attesters
        self._clock = clock
        self._states = {attester.id: AttesterState(attester.id) for attester in attesters}

    @property
    def states(self) -> Mapping[str, AttesterState]:
        """The states of the attesters by their names, as this process saw them last."""
        return {attester.name: self._states[attester.id] for attester in self._attesters}

    async def check_health(self) -> str | None:
        """Returns None if the attesters attest in time, else one line that names none of them."""
        late = [state for state in self._states.values() if self._is_late(state)]
        if not late:
            return None
        text = f"{len(late)} of {len(self._states)} witnesses and time stamp authorities do not attest the audit log"
        return f"{text}: one contradicts it" if any(state.is_serious for state in late) else text

    def describe(self) -> dict[str, str]:
        """Returns a line about each attester by its name, for the operator."""
        return {name: _describe(state) for name, state in self.states.items()}

    async def run(self) -> None:
        """Asks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for attester in self._attesters:
                loop = ScanLoop(f"attester {attester.name}", every_s=LOOK_EVERY_S)
                tasks.create_task(loop.run(partial(self.scan, attester)))

    async def scan(self, attester: Attester) -> None:
        """Asks the attester about the newest kept checkpoint if it has not attested it and nobody else asks it."""
        now = self._clock.now()
        async with self._pool.acquire() as db:
            epoch = await load_epoch(db)
            ends_at = now + timedelta(seconds=CLAIM_S)
            claim = await claim_checkpoint(db, epoch.epoch, attester.id, now=now, ends_at=ends_at)
        if claim is not None:
            await self._ask(attester, claim)
        async with self._pool.acquire() as db:
            self._states |= await load_states(db, epoch.epoch, [attester.id])

    async def _ask(self, attester: Attester, claim: CheckpointClaim) -> None:
        try:
            async with asyncio.timeout(ATTEST_S):
                attestation = await attester.attest(claim, self._prove)
        except (AttestationError, LogFault, TimeoutError) as error:
            await self._put_off(attester, claim, error)
            return
        next_at = self._clock.now() + timedelta(seconds=attester.every_s)
        async with self._pool.acquire() as db:
            await store_attestation(db, claim, attestation, next_at=next_at)
        if claim.failures:
            log.info("checkpoint_attested", attester=attester.name, size=claim.size)

    async def _put_off(
        self, attester: Attester, claim: CheckpointClaim, error: AttestationError | LogFault | TimeoutError
    ) -> None:
        problem, is_serious = f"does not answer within {ATTEST_S:.0f} s", False
        if isinstance(error, AttestationError):
            problem, is_serious = str(error), error.is_serious or await self._is_beyond(error.seen_size)
        elif isinstance(error, LogFault):
            problem, is_serious = f"not asked: {error}", True
        report = log.error if is_serious else log.warning
        report("checkpoint_not_attested", attester=attester.name, size=claim.size, error=problem)
        pause = min(MAX_RETRY_S, RETRY_S * 2 ** min(claim.failures, 20))
        next_at = self._clock.now() + timedelta(seconds=pause)
        async with self._pool.acquire() as db:
            await put_off(db, claim, problem, is_serious=is_serious, next_at=next_at)

    async def _is_beyond(self, seen_size: int) -> bool:
        """Says if the log has fewer events: the database went back, or another server signs with the log's key."""
        async with self._pool.acquire() as db:
            return seen_size > await load_size(db, await load_epoch(db))

    async def _prove(self, old_size: int, size: int) -> list[bytes]:
        if old_size == 0:
            return []
        async with self._pool.acquire() as db:
            epoch = await load_epoch(db)
            hashes = await load_hashes(db, epoch, consistency_nodes(old_size, size), size)
        return consistency_proof(old_size, size, hashes)

    def _is_late(self, state: AttesterState) -> bool:
        if state.is_serious:
            return True
        since = state.waiting_since
        return since is not None and (self._clock.now() - since).total_seconds() > MAX_WAITING_S


def _describe(state: AttesterState) -> str:
    if state.problem is not None:
        times = "once" if state.failures == 1 else f"{state.failures} times in a row"
        return f"{state.problem} (failed {times})"
    if state.waiting_since is not None:
        return "is being asked"
    return f"has attested {state.size} events" if state.size else "not asked yet"
