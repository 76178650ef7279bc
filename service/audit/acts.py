"""Records the acts of people that change no object: tokens handed out, reads with keys of auditors, failed sign-ins.

They are events of the installation's stream, to which all processes append. The acts that wait in a process are written
in groups, so that they do not wait for each other. Failed sign-ins are counted over WINDOW_S seconds and by address,
and the addresses are bounded, so that a stranger cannot grow the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

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
    InstallationCommand,
    InstallationState,
    RecordActs,
    RecordStart,
    SignInsFailed,
    TokenCreated,
    TokenPurpose,
)
from events.streams import INSTALLATION
from service.audit.clients import ClientRecorder
from service.database import DATABASE_ERRORS, DatabaseBusy
from service.writer import GroupedCommand, Writer

log = structlog.get_logger()

# Seconds over which failed sign-ins, and repeated reads of a path with one key, are counted in one event.
WINDOW_S = 60.0
# Addresses whose failed sign-ins are counted apart in a window. Those of all others share one event.
MAX_ADDRESSES = 100
# Pairs of a key and a path whose reads are counted in a window. Each read beyond them is an event.
MAX_PATHS = 10_000
WRITE_TIMEOUT_S = 5.0
# Acts of a group, and acts that wait for their group. Further ones are refused.
MAX_GROUP = 100
MAX_WAITING = 2_000


@dataclass(frozen=True, slots=True)
class _WaitingAct:
    """An act that waits for its group. `written` is done when its event is committed, or has the error."""

    command: GroupedCommand[InstallationCommand]
    written: asyncio.Future[None]


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
        self._waiting: deque[_WaitingAct] = deque()
        self._has_waiting = asyncio.Event()

    async def start(self, settings: Mapping[str, str], *, installation: str) -> InstallationState:
        """Creates the installation at the first start, records this start, and returns the state of the installation.

        `settings` holds those that differ from the defaults, without secrets. `installation` is its name in the origins
        of the log.
        """
        await self._write(CreateInstallation(installation))
        return await self._write(RecordStart(dict(settings)))

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
                    await self._write(RecordActs(tuple(failed)))
                sign_ins = {}
                reads = {key: counted for key, counted in reads.items() if counted.count}
                while chunk := dict(islice(reads.items(), MAX_GROUP)):
                    commands = [_command_of(key[0], counted) for key, counted in chunk.items()]
                    await self._writer.write_group(INSTALLATION, INSTALLATION_ID, commands)
                    reads = {key: counted for key, counted in reads.items() if key not in chunk}
        except (TimeoutError, DomainError, *DATABASE_ERRORS) as error:
            log.warning("acts_not_written", error=str(error) or type(error).__name__)
        except Exception:
            log.exception("acts_not_written")
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

    async def run_writes(self) -> None:
        """Writes the acts that wait, in groups and in their order, until it is cancelled."""
        try:
            while True:
                await self._has_waiting.wait()
                group = [self._waiting.popleft() for _ in range(min(MAX_GROUP, len(self._waiting)))]
                if group:
                    await self._write_waiting(group)
                else:
                    self._has_waiting.clear()
        finally:
            _end(self._waiting, DatabaseBusy("the server stops"))

    async def _write_waiting(self, group: Sequence[_WaitingAct]) -> None:
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self.clients.write()
                await self._writer.write_group(INSTALLATION, INSTALLATION_ID, [act.command for act in group])
        except (TimeoutError, DomainError, *DATABASE_ERRORS) as error:
            _end(group, error)
        except Exception as error:
            # The callers fail, and later acts are written.
            log.exception("acts_not_written")
            _end(group, error)
        except BaseException:
            _end(group, DatabaseBusy("the server stops"))
            raise
        else:
            _end(group, None)

    async def _append(self, origin: Origin, act: Act) -> None:
        """Waits until the act of a request is in the stream of the installation, which is in a project of its own.

        Raises DatabaseBusy if too many acts wait, and the errors of `Writer.write_group`.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise DatabaseBusy(f"{len(self._waiting)} acts wait to be recorded")
        origin = replace(origin, project_id=INSTALLATION_PROJECT)
        command: GroupedCommand[InstallationCommand] = GroupedCommand.of(origin, INSTALLATION_ID, RecordActs((act,)))
        waiting = _WaitingAct(command, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._has_waiting.set()
        await waiting.written

    async def _write(self, command: CreateInstallation | RecordStart | RecordActs) -> InstallationState:
        return await write_installation(self._writer, Origin(INSTALLATION_PROJECT, self._process), command)


async def write_installation(writer: Writer, origin: Origin, command: InstallationCommand) -> InstallationState:
    """Carries out a command on the installation and returns its state, also if all processes append acts meanwhile."""
    grouped: GroupedCommand[InstallationCommand] = GroupedCommand(origin, command, None)
    return await writer.write_group(INSTALLATION, INSTALLATION_ID, [grouped])


def _command_of(actor: Actor, counted: _Reads) -> GroupedCommand[InstallationCommand]:
    read = AuditRead(project_id=counted.project_id, path=counted.path, count=counted.count)
    return GroupedCommand(Origin(INSTALLATION_PROJECT, actor), RecordActs((read,)), None)


def _end(acts: Sequence[_WaitingAct] | deque[_WaitingAct], error: Exception | None) -> None:
    """Lets the callers of the acts go on, or fail."""
    for act in acts:
        if act.written.done():
            continue  # its caller was cancelled
        if error is None:
            act.written.set_result(None)
        else:
            act.written.set_exception(error)
