"""code_interpreter: Python that the model writes, run in the sandbox session of its thread.

A session is a cache: it holds variables and files as long as it lives, and whatever ends it (an idle hour, a crash of
this server, another process taking the run over) costs no more than the variables. A new session gets back the files
that it is to have, those that earlier calls made and those that the run and the thread name; and the model is told.

A call may be made again after a crash: code has no effect outside but the files that it makes, and a file that was
made of the same call, path and bytes is the same file.
"""

from __future__ import annotations

import os.path
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog

from service.sandbox.base import (
    DATA,
    Changed,
    Done,
    FileRefused,
    Image,
    Limits,
    SandboxLost,
    SandboxUnavailable,
    Text,
)
from service.sandbox.pool import Held, NoPlace, Sessions, Warm
from service.sandbox.provisioning import BEING_MADE
from service.tools.base import (
    CrashPolicy,
    HostedCall,
    HostedRun,
    Json,
    Piece,
    ProducedFile,
    ToolResult,
    ToolType,
    ToolUnusable,
)
from service.tools.code_interpreter import texts
from service.tools.code_interpreter.call_result import Account
from service.tools.code_interpreter.inputs import KnownFile, inputs, named

log = structlog.get_logger()

TURNED_OFF = "EVERTHREAD_CODE_INTERPRETER says so"
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class Past:
    """What a thread's earlier calls left: the id of the newest finished one that was carried out, and (path below
    DATA, file id) in order."""

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
    def making(self) -> bool: ...

    @property
    def why_not(self) -> str | None: ...


class CodeInterpreter:
    """The HostedTool; see base.py for what each part promises. `handed_on` bounds the bytes of a call's files together:
    a sparse file takes no room on the sandbox's disk, and all of its size outside."""

    type: ToolType = "code_interpreter"
    description = texts.DESCRIPTION
    parameters: Json = texts.PARAMETERS
    after_crash: CrashPolicy = "again"

    def __init__(
        self, files: Files, confinement: Confinement, *, on: bool = True, handed_on: int = Limits().disk
    ) -> None:
        self.on = on
        self._handed_on = handed_on
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
        if self._confinement.making:
            return f"starting: {BEING_MADE}"
        return None if self._confinement.tried else "starting"

    def counts(self) -> Counts:
        """For /metrics."""
        return Counts(self._sessions.open if self._sessions else 0, self._warm.count if self._warm else 0, self._lost)

    async def brief(self, run: HostedRun) -> str:
        known = await self._files.known(run.project_id, inputs(run))
        listed = [(file.id, file.name, name) for file, name in named(known)[: texts.MOST_LISTED]]
        return texts.brief(texts.listing(listed, len(known) - len(listed)), run.window)

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
            yield ToolResult(text=f"The code was not run: {error}. Try again later.", refused=True)

    async def _run(self, held: Held, call: HostedCall, past: Past) -> AsyncGenerator[Piece | ToolResult, None]:
        account = Account(self._handed_on)
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
            account.lost(str(error))
        self._lost += held.sandbox.lost
        yield account.result(call.room)

    async def _prepare(self, held: Held, call: HostedCall, past: Past, account: Account) -> None:
        """Sees to it that the session has its files, and none that is gone. Raises SandboxLost, and what the stores
        raise."""
        if held.new:
            await self._restore(held, call.run, past, account)
        known = await self._files.known(call.run.project_id, [*inputs(call.run), *held.present])
        gone = held.present - {file.id for file in known}
        held.present -= gone
        for file in known:
            if file.id not in held.present and await self._put(held, file, file.id, account):
                held.present.add(file.id)
        names = [(file.id, name) for file, name in named(known) if name is not None and file.id in held.present]
        if gone or names != held.names:
            await held.sandbox.arrange(sorted(gone), names)
            held.names = names
        held.mark = call.id

    async def _restore(self, held: Held, run: HostedRun, past: Past, account: Account) -> None:
        if past.last_call is not None:
            account.notes.append(texts.ANEW)
        there = {file.id: file for file in await self._files.known(run.project_id, [id for _, id in past.files])}
        for path, file_id in past.files:
            if file_id in there:
                await self._put(held, there[file_id], path, account)

    async def _put(self, held: Held, file: KnownFile, path: str, account: Account) -> bool:
        """Whether it is done with the file: one that found no space may find it before the next call."""
        try:
            await held.sandbox.put(path, self._files.read(file))
        except FileRefused as error:
            account.notes.append(f"Note: {file.name} could not be put into {DATA}: {error}.")
            return False
        except FileGone:
            log.error("a file has no bytes", file=file.id)
            account.notes.append(f"Note: {file.name} could not be put into {DATA}: its bytes are gone.")
        return True

    async def _collect(self, held: Held, call: HostedCall, account: Account) -> None:
        """Makes file objects of what the call made or changed. Raises SandboxLost, and what the stores raise."""
        for changed in account.changed:
            path = f"{DATA}/{changed.path}"
            if changed.size > account.room:  # asked for all the same it would end the session
                most = self._handed_on
                account.notes.append(f"Note: {path} could not be kept: a call's files may have {most} bytes together.")
                continue
            try:
                file_id = await self._keep(held, call, account, changed)
            except FileRefused as error:
                account.notes.append(f"Note: {path} could not be kept: {error}.")
            else:
                account.files.append(ProducedFile(file_id, path))

    async def _keep(self, held: Held, call: HostedCall, account: Account, changed: Changed) -> str:
        async def handed_on() -> AsyncGenerator[bytes, None]:
            async with aclosing(held.sandbox.get(changed.path, account.room)) as pieces:
                async for piece in pieces:
                    account.room -= len(piece)
                    yield piece

        name = os.path.basename(changed.path)
        async with aclosing(handed_on()) as pieces:
            return await self._files.keep(call.run, f"{call.id}/file/{changed.path}", name, pieces)

    async def _keep_image(self, call: HostedCall, account: Account, image: Image) -> str:
        number = account.images + 1
        name = f"image-{number}.{_ENDINGS[image.mime]}"
        return await self._files.keep(call.run, f"{call.id}/image/{number}", name, _once(image.data))


def _off(why: str) -> str:
    return f"Tools of type 'code_interpreter' are off on this server: {why}."


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
