"""code_interpreter: Python that the model writes, run in the sandbox session of its thread.

A session is a cache: it holds variables and files as long as it lives, and whatever ends it (an idle hour, a crash of
this server, another process taking the run over) costs no more than the variables. A new session gets back the files
that it is to have, those that earlier calls made and those that the run and the thread name; and the model is told.

A call may be made again after a crash: code has no effect outside but the files that it makes, and a file that was
made of the same call, path and bytes is the same file.
"""

from __future__ import annotations

import os.path
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from service.tools import code_text
from service.tools.base import (
    CrashPolicy,
    HostedCall,
    HostedRun,
    ImagePiece,
    Json,
    LogPiece,
    Piece,
    ProducedFile,
    ToolResult,
    ToolType,
    ToolUnusable,
)
from service.tools.sandbox.base import DATA, Done, FileRefused, Image, SandboxLost, SandboxUnavailable, Text
from service.tools.sandbox.sessions import Held, NoPlace, Sessions, Warm

log = structlog.get_logger()

# A file's name inside, in bytes; longer ones are to be had under their id only.
_LONGEST_NAME = 200
# Of a produced file: what comes out at most.
MAX_PRODUCED = 512 * 1024 * 1024
TURNED_OFF = "EVERTHREAD_CODE_INTERPRETER says so"
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file object that is there. `blob` is its bytes' key."""

    id: str
    name: str
    blob: str


@dataclass(frozen=True, slots=True)
class Past:
    """What a thread's earlier calls left: the newest finished one's id, and (path below DATA, file id) in order."""

    last_call: str | None
    files: Sequence[tuple[str, str]]


class Files(Protocol):
    """What the tool needs of files and of the thread's history."""

    async def known(self, project_id: str, file_ids: Sequence[str]) -> list[KnownFile]:
        """Those of the files that are there, in that order, each once."""
        ...

    def read(self, file: KnownFile) -> AsyncIterator[bytes]:
        """Its bytes. Raises FileGone, and what the store of bytes raises."""
        ...

    async def keep(self, run: HostedRun, cause: str, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Makes a file of purpose assistants_output; its id follows from `cause` and the bytes.

        Raises what `chunks` and the stores raise.
        """
        ...

    async def past(self, run: HostedRun) -> Past:
        """What the thread's finished calls of code_interpreter have left."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """Sessions that there are, warm sandboxes, and how many sessions were lost since the server started."""

    open: int
    warm: int
    lost: int


class FileGone(Exception):
    """There are no bytes of the file any more."""


class Confinement(Protocol):
    """Whether a sandbox can be had."""

    @property
    def tried(self) -> bool: ...

    @property
    def why_not(self) -> str | None: ...


class CodeInterpreter:
    """The HostedTool; see base.py for what each part promises."""

    type: ToolType = "code_interpreter"
    description = code_text.DESCRIPTION
    parameters: Json = code_text.PARAMETERS
    after_crash: CrashPolicy = "again"

    def __init__(self, files: Files, confinement: Confinement, *, on: bool = True) -> None:
        self.on = on
        self._files = files
        self._confinement = confinement
        self._sessions: Sessions | None = None
        self._warm: Warm | None = None
        self._lost = 0

    def use(self, sessions: Sessions, warm: Warm) -> None:
        """Where sessions come from; before the first call."""
        self._sessions, self._warm = sessions, warm

    def thread_gone(self, thread_id: str) -> None:
        """The thread was deleted: its session ends."""
        if self._sessions is not None:
            self._sessions.outlived(thread_id)

    @property
    def off(self) -> str | None:
        why = TURNED_OFF if not self.on else self._confinement.why_not
        return _off(why) if why is not None else None

    async def state(self) -> str | None:
        """For /healthz: None where code can be run, else why not."""
        if not self.on:
            return f"off: {TURNED_OFF}"
        if self._confinement.why_not is not None:
            return f"off: {self._confinement.why_not}"
        return None if self._confinement.tried else "starting"

    def counts(self) -> Counts:
        """For /metrics."""
        return Counts(self._sessions.open if self._sessions else 0, self._warm.count if self._warm else 0, self._lost)

    async def brief(self, run: HostedRun) -> str:
        known = await self._files.known(run.project_id, _inputs(run))
        taken: set[str] = set()
        named = [(file.id, file.name, _claimed(file, taken)) for file in known[: code_text.MOST_LISTED]]
        return code_text.brief(code_text.listing(named, len(known) - len(named)), run.window)

    async def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        if self._sessions is None:
            raise ToolUnusable(_off(TURNED_OFF))
        past = await self._files.past(call.run)
        try:
            # A session that another call was the last in, since another process carried on the thread, is out of date.
            async with (
                self._sessions.hold(call.run.thread_id, past.last_call) as held,
                aclosing(self._run(held, call, past)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
        except SandboxUnavailable as error:
            raise ToolUnusable(_off(str(error))) from None
        except NoPlace as error:
            yield ToolResult(text=f"The code was not run: {error}. Try again later.", failed=True)

    async def _run(self, held: Held, call: HostedCall, past: Past) -> AsyncGenerator[Piece | ToolResult, None]:
        account = _Account()
        try:
            await self._prepare(held, call, past, account)
            async with aclosing(held.sandbox.execute(str(call.arguments["code"]))) as pieces:
                async for piece in pieces:
                    match piece:
                        case Text(text=text):
                            yield account.printed(text)
                        case Image():
                            yield account.showed(await self._keep_image(call, account, piece))
                        case Done():
                            account.done(piece)
            await self._collect(held, call, account)
        except SandboxLost as error:
            account.notes.append(_lost(str(error)))
            account.failed = True
        self._lost += held.sandbox.lost
        yield account.result(call.room)

    async def _prepare(self, held: Held, call: HostedCall, past: Past, account: _Account) -> None:
        """Sees to it that the session has its files. Raises SandboxLost, and what the stores raise."""
        if held.new:
            await self._restore(held, call.run, past, account)
        wanted = [file_id for file_id in _inputs(call.run) if file_id not in held.present]
        for file in await self._files.known(call.run.project_id, wanted):
            await self._put(held, file, (file.id, *_names(file)), account)
            held.present.add(file.id)
        held.mark = call.id

    async def _restore(self, held: Held, run: HostedRun, past: Past, account: _Account) -> None:
        if past.last_call is not None:
            account.notes.append(code_text.ANEW)
        there = {file.id: file for file in await self._files.known(run.project_id, [id for _, id in past.files])}
        for path, file_id in past.files:
            if file_id in there:
                await self._put(held, there[file_id], (path,), account)

    async def _put(self, held: Held, file: KnownFile, names: tuple[str, ...], account: _Account) -> None:
        try:
            await held.sandbox.put(names, self._files.read(file))
        except FileRefused as error:
            account.notes.append(f"Note: {file.name} could not be put into {DATA}: {error}.")
        except FileGone:
            log.error("a file has no bytes", file=file.id)

    async def _collect(self, held: Held, call: HostedCall, account: _Account) -> None:
        """Makes file objects of what the call made or changed. Raises SandboxLost, and what the stores raise."""
        for changed in account.changed:
            cause = f"{call.id}/file/{changed}"
            name = os.path.basename(changed)
            try:
                bytes_of = held.sandbox.get(changed, MAX_PRODUCED)
                async with aclosing(bytes_of):
                    file_id = await self._files.keep(call.run, cause, name, bytes_of)
            except FileRefused as error:
                account.notes.append(f"Note: {DATA}/{changed} could not be kept: {error}.")
            else:
                account.files.append(ProducedFile(file_id, f"{DATA}/{changed}"))

    async def _keep_image(self, call: HostedCall, account: _Account, image: Image) -> str:
        number = account.images + 1
        name = f"image-{number}.{_ENDINGS[image.mime]}"
        return await self._files.keep(call.run, f"{call.id}/image/{number}", name, _once(image.data))


@dataclass(slots=True)
class _Account:
    """What a call has brought so far: outputs in the API's shapes, and what the model will read."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    files: list[ProducedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changed: Sequence[str] = ()
    images: int = 0
    failed: bool = False

    def printed(self, text: str) -> LogPiece:
        if not self.outputs or self.outputs[-1]["type"] != "logs":
            self.outputs.append({"type": "logs", "logs": ""})
        self.outputs[-1]["logs"] += text
        return LogPiece(len(self.outputs) - 1, text)

    def showed(self, file_id: str) -> ImagePiece:
        self.images += 1
        self.outputs.append({"type": "image", "image": {"file_id": file_id}})
        return ImagePiece(len(self.outputs) - 1, file_id)

    def done(self, done: Done) -> None:
        self.failed = done.failed
        self.notes += [f"Note: {note}" for note in done.notes]
        if done.lost is not None:
            self.notes.append(_lost(done.lost))
        else:
            self.changed = [file.path for file in done.changed]

    def result(self, room: int) -> ToolResult:
        logs = "".join(output["logs"] for output in self.outputs if output["type"] == "logs")
        text = code_text.told(logs, self.images, [file.path for file in self.files], self.notes, room)
        return ToolResult(text=text, outputs=self.outputs, files=self.files, failed=self.failed)


def _inputs(run: HostedRun) -> list[str]:
    """The files that the run and its thread name for the tool."""
    named = [*_file_ids(run.run_resources), *_file_ids(run.thread_resources)]
    return list(dict.fromkeys(named))


def _file_ids(resources: Json) -> Iterator[str]:
    yield from (resources.get("code_interpreter") or {}).get("file_ids") or ()


def _names(file: KnownFile) -> tuple[str, ...]:
    """The name that a file is to be found by besides its id, where it is one that a file can have."""
    name = os.path.basename(file.name.replace("\\", "/"))
    fits = 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME and name.isprintable() and not name.startswith(".")
    return (name,) if fits and name != file.id else ()


def _claimed(file: KnownFile, taken: set[str]) -> str | None:
    """Its name where no file before it has that."""
    for name in _names(file):
        if name not in taken:
            taken.add(name)
            return name
    return None


def _off(why: str) -> str:
    return f"Tools of type 'code_interpreter' are off on this server: {why}."


def _lost(why: str) -> str:
    return f"Note: the Python session was lost: {why}. Variables and imports are gone; the next call starts a new one."


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
