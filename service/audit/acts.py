"""Records the acts of people that change no object: tokens handed out, reads with keys of auditors, failed sign-ins.

They are events of the installation's stream. Failed sign-ins are counted over WINDOW_S seconds and by address, and the
addresses are bounded, so that a stranger cannot grow the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from events.actors import Actor, ProcessActor
from events.clients import ClientFacts
from events.envelope import Origin
from events.errors import DomainError
from events.installation import (
    INSTALLATION_ID,
    INSTALLATION_PROJECT,
    Act,
    AuditRead,
    CreateInstallation,
    Credential,
    InstallationState,
    RecordActs,
    RecordStart,
    SignInsFailed,
    TokenCreated,
    TokenPurpose,
)
from events.streams import INSTALLATION
from service.audit.clients import ClientRecorder
from service.database import DATABASE_ERRORS
from service.writer import Writer

log = structlog.get_logger()

# Seconds over which failed sign-ins, and repeated reads of a path with one key, are counted in one event.
WINDOW_S = 60.0
# Addresses whose failed sign-ins are counted apart in a window. Those of all others share one event.
MAX_ADDRESSES = 100
# Pairs of a key and a path whose reads are counted in a window. Each read beyond them is an event.
MAX_PATHS = 10_000
WRITE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class _FailedSignIns:
    request_id: str | None
    client: bytes | None
    count: int = 0


@dataclass(frozen=True, slots=True)
class _Reads:
    """The reads of a path with a key in this window, after the first one."""

    project_id: str
    path: str
    count: int = 0


class ActRecorder:
    """Records acts, and the clients of requests (`clients`). `process` is this process's number among its peers."""

    def __init__(self, writer: Writer, clients: ClientRecorder, *, process: int) -> None:
        self.clients = clients
        self._writer = writer
        self._process = ProcessActor(process)
        self._sign_ins: dict[tuple[Credential, str | None], _FailedSignIns] = {}
        self._reads: dict[tuple[Actor, str], _Reads] = {}

    async def start(self, settings: Mapping[str, str], *, installation: str) -> InstallationState:
        """Creates the installation at the first start, records this start, and returns the state of the installation.

        `settings` holds those that differ from the defaults, without secrets. `installation` is its name in the origins
        of the log.
        """
        await self._write(self._process, CreateInstallation(installation))
        return await self._write(self._process, RecordStart(dict(settings)))

    async def record_token(self, origin: Origin, purpose: TokenPurpose, object_id: str, expires_at: int) -> None:
        """Records that a token or a link was made. Call it before the token is sent."""
        act = TokenCreated(project_id=origin.project_id, purpose=purpose, object_id=object_id, expires_at=expires_at)
        await self._append(origin, act)

    async def record_read(self, origin: Origin, path: str) -> None:
        """Records that a key of an auditor reads `path`. Call it before the answer is sent.

        The first read in a window is an event at once, so that it is in the log even if this process is killed.
        """
        known = self._reads.get((origin.actor, path))
        if known is not None:
            self._reads[origin.actor, path] = replace(known, count=known.count + 1)
            return
        act = AuditRead(project_id=origin.project_id, path=path, count=1)
        await self._append(origin, act)
        if len(self._reads) < MAX_PATHS:
            self._reads.setdefault((origin.actor, path), _Reads(origin.project_id, path))

    def count_failed_sign_in(self, credential: Credential, address: str, request_id: str, facts: ClientFacts) -> None:
        """Counts a request with a wrong key or token. The client of the address's first one is recorded."""
        place: tuple[Credential, str | None] = (credential, address)
        if place not in self._sign_ins and len(self._sign_ins) >= MAX_ADDRESSES:
            place = (credential, None)
        counted = self._sign_ins.get(place)
        if counted is None and place[1] is None:
            counted = _FailedSignIns(None, None)
        elif counted is None:
            counted = _FailedSignIns(request_id, self.clients.record(request_id, facts))
        self._sign_ins[place] = replace(counted, count=counted.count + 1)

    async def run(self) -> None:
        """Writes the counts after each window until it is cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(WINDOW_S)
                await self.write_counts()
        finally:
            await self.write_counts()

    async def write_counts(self) -> None:
        """Writes what was counted and begins a new window. If the database does not answer, the window goes on."""
        sign_ins, self._sign_ins = self._sign_ins, {}
        reads, self._reads = self._reads, {}
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                failed: list[Act] = [
                    SignInsFailed(
                        credential=credential,
                        count=counted.count,
                        request_id=counted.request_id,
                        client=None if counted.client is None else counted.client.hex(),
                    )
                    for (credential, _), counted in sign_ins.items()
                ]
                if failed:
                    await self._write(self._process, RecordActs(tuple(failed)))
                sign_ins = {}
                for key, counted in list(reads.items()):
                    if counted.count:
                        read = AuditRead(project_id=counted.project_id, path=counted.path, count=counted.count)
                        await self._write(key[0], RecordActs((read,)))
                    del reads[key]
        except (TimeoutError, DomainError, *DATABASE_ERRORS) as error:
            log.warning("acts_not_written", error=str(error) or type(error).__name__)
        finally:
            # The counts that were not written stay, also if the write was cancelled.
            self._restore(sign_ins, reads)

    def _restore(
        self,
        sign_ins: dict[tuple[Credential, str | None], _FailedSignIns],
        reads: dict[tuple[Actor, str], _Reads],
    ) -> None:
        for place, counted in sign_ins.items():
            since = self._sign_ins.get(place)
            self._sign_ins[place] = replace(counted, count=counted.count + (since.count if since else 0))
        for key, read in reads.items():
            more = self._reads.get(key)
            self._reads[key] = replace(read, count=read.count + (more.count if more else 0))

    async def _append(self, origin: Origin, act: Act) -> None:
        """Appends the act of a request to the stream of the installation, which is in a project of its own."""
        origin = replace(origin, project_id=INSTALLATION_PROJECT)
        await self._writer.write(INSTALLATION, origin, INSTALLATION_ID, RecordActs((act,)))

    async def _write(self, actor: Actor, command: CreateInstallation | RecordStart | RecordActs) -> InstallationState:
        origin = Origin(INSTALLATION_PROJECT, actor)
        return (await self._writer.write(INSTALLATION, origin, INSTALLATION_ID, command)).state
