"""code_interpreter: Python that the model writes, run in the sandbox session of its thread.

A session is a cache of variables and files. If it ends (by an idle hour, a crash of this server, or another process
that takes the run over), only the variables are lost: a new session gets the files of earlier calls and those that the
run and the thread name, and the model is notified.

A call may be made again after a crash: code has no effect outside the sandbox except the files that it creates, and a
file with the same call, path and bytes is the same file.
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
    CallEnd,
    ChangedFile,
    FileRefused,
    Image,
    Limits,
    SandboxLost,
    SandboxUnavailable,
    Text,
)
from service.sandbox.pool import NoFreeSandbox, PooledSession, SessionPool
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
from service.tools.code_interpreter.call_result import CallResult
from service.tools.code_interpreter.inputs import KnownFile, inputs, with_names
from service.tools.hosted_functions import CODE_DESCRIPTION, CODE_PARAMETERS

log = structlog.get_logger()

TURNED_OFF = "EVERTHREAD_CODE_INTERPRETER says so"
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class PriorCalls:
    """The state that a thread's earlier calls left: the id of the newest call that was carried out, and (path below
    DATA, file id) in order.
    """

    last_call: str | None
    files: Sequence[tuple[str, str]]


class Files(Protocol):
    """The files and the history of a thread, as the tool needs them."""

    async def find(self, project_id: str, file_ids: Sequence[str]) -> list[KnownFile]:
        """Returns those of the files that exist, in that order, without duplicates."""
        ...

    def read(self, file: KnownFile) -> AsyncIterator[bytes]:
        """Yields the bytes of a file. Raises FileMissing, and errors of the blob store."""
        ...

    async def keep(self, run: HostedRun, cause: str, name: str, chunks: AsyncIterator[bytes]) -> str:
        """Creates a file of purpose assistants_output. Its id follows from `cause` and the bytes.

        Raises errors of `chunks` and of the stores.
        """
        ...

    async def prior_calls(self, run: HostedRun) -> PriorCalls:
        """Returns the state that the thread's finished calls of code_interpreter left."""
        ...


class FileMissing(Exception):
    """The bytes of the file are deleted."""


class SandboxAvailability(Protocol):
    """Knows if a sandbox can be started here."""

    @property
    def is_tried(self) -> bool: ...

    @property
    def is_provisioning(self) -> bool: ...

    @property
    def unavailable_reason(self) -> str | None: ...


class CodeInterpreter:
    """The HostedTool; base.py documents its methods.

    It is off without a `pool` of sessions. `max_output_bytes` bounds the bytes of all files that one call returns,
    since a sparse file takes no room on the sandbox's disk but its full size outside.
    """

    type: ToolType = "code_interpreter"
    description = CODE_DESCRIPTION
    parameters: Json = CODE_PARAMETERS
    after_crash: CrashPolicy = "again"

    def __init__(
        self,
        files: Files,
        probe: SandboxAvailability,
        pool: SessionPool | None,
        *,
        max_output_bytes: int = Limits().disk,
    ) -> None:
        self._pool = pool
        self._max_output_bytes = max_output_bytes
        self._files = files
        self._probe = probe
        self._lost = 0

    def end_session(self, thread_id: str) -> None:
        """Ends the session of a thread that was deleted."""
        if self._pool is not None:
            self._pool.sessions.discard(thread_id)

    @property
    def unavailable_reason(self) -> str | None:
        why = TURNED_OFF if self._pool is None else self._probe.unavailable_reason
        return _off(why) if why is not None else None

    async def state(self) -> str | None:
        """Returns None if code can be run, else the reason, for /healthz."""
        if self._pool is None:
            return f"off: {TURNED_OFF}"
        if self._probe.unavailable_reason is not None:
            return f"off: {self._probe.unavailable_reason}"
        if self._probe.is_provisioning:
            return f"starting: {BEING_MADE}"
        return None if self._probe.is_tried else "starting"

    @property
    def open_sessions(self) -> int:
        return self._pool.sessions.open if self._pool is not None else 0

    @property
    def warm_sandboxes(self) -> int:
        return self._pool.warm.count if self._pool is not None else 0

    @property
    def lost_sessions(self) -> int:
        """The number of sessions that were lost since the server started."""
        return self._lost

    async def brief(self, run: HostedRun) -> str:
        known = await self._files.find(run.project_id, inputs(run))
        listed = [(file.id, file.name, name) for file, name in with_names(known)[: texts.MOST_LISTED]]
        return texts.brief(texts.listing(listed, len(known) - len(listed)), run.window)

    async def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        if self._pool is None:
            raise ToolUnusable(_off(TURNED_OFF))
        prior = await self._files.prior_calls(call.run)
        try:
            # The session is out of date if its last call is not the thread's last: another process continued the
            # thread.
            async with (
                self._pool.sessions.hold(call.run.thread_id, prior.last_call, project=call.run.project_id) as held,
                aclosing(self._run(held, call, prior)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
        except SandboxUnavailable as error:
            raise ToolUnusable(_off(str(error))) from None
        except NoFreeSandbox as error:
            yield ToolResult(text=f"The code was not run: {error}. Try again later.", refused=True)

    async def _run(
        self, held: PooledSession, call: HostedCall, prior: PriorCalls
    ) -> AsyncGenerator[Piece | ToolResult, None]:
        result = CallResult(self._max_output_bytes)
        held.sandbox.begin_call()
        try:
            await self._prepare(held, call, prior, result)
            async with aclosing(held.sandbox.execute(str(call.arguments["code"]))) as pieces:
                async for piece in pieces:
                    match piece:
                        case Text(text=text):
                            yield result.add_logs(text)
                        case Image():
                            try:
                                file_id = await self._keep_image(call, result, piece)
                            except FileRefused as error:
                                result.notes.append(f"Note: an image could not be kept: {error}.")
                            else:
                                yield result.add_image(file_id)
                        case CallEnd():
                            result.finish(piece)
            await self._collect(held, call, result)
        except SandboxLost as error:
            result.lose_session(str(error))
        self._lost += held.sandbox.is_lost
        yield result.result(call.room)

    async def _prepare(self, held: PooledSession, call: HostedCall, prior: PriorCalls, result: CallResult) -> None:
        """Copies the session's missing files into it, and removes those that are deleted. Raises SandboxLost, and
        errors of the stores.
        """
        if held.is_new:
            await self._restore(held, call.run, prior, result)
        known = await self._files.find(call.run.project_id, [*inputs(call.run), *held.present])
        gone = held.present - {file.id for file in known}
        held.present -= gone
        for file in known:
            if file.id not in held.present and await self._put(held, file, file.id, result):
                held.present.add(file.id)
        names = [(file.id, name) for file, name in with_names(known) if name is not None and file.id in held.present]
        if gone or names != held.names:
            await held.sandbox.arrange(sorted(gone), names)
            held.names = names
        held.mark = call.id

    async def _restore(self, held: PooledSession, run: HostedRun, prior: PriorCalls, result: CallResult) -> None:
        if prior.last_call is not None:
            result.notes.append(texts.NEW_SESSION)
        there = {file.id: file for file in await self._files.find(run.project_id, [id for _, id in prior.files])}
        for path, file_id in prior.files:
            if file_id in there:
                await self._put(held, there[file_id], path, result)

    async def _put(self, held: PooledSession, file: KnownFile, path: str, result: CallResult) -> bool:
        """Copies one file. Returns False if the session has no space for it; it may have space before the next call."""
        try:
            await held.sandbox.put(path, self._files.read(file))
        except FileRefused as error:
            result.notes.append(f"Note: {file.name} could not be put into {DATA}: {error}.")
            return False
        except FileMissing:
            log.error("file_blob_missing", file=file.id)
            result.notes.append(f"Note: {file.name} could not be put into {DATA}: its bytes are gone.")
        return True

    async def _collect(self, held: PooledSession, call: HostedCall, result: CallResult) -> None:
        """Creates file objects for the files that the call created or changed. Raises SandboxLost, and errors of the
        stores.
        """
        for changed in result.changed:
            path = f"{DATA}/{changed.path}"
            if changed.size > result.room:  # asking for them would end the session
                most = self._max_output_bytes
                result.notes.append(f"Note: {path} could not be kept: a call's files may have {most} bytes together.")
                continue
            try:
                file_id = await self._keep(held, call, result, changed)
            except FileRefused as error:
                result.notes.append(f"Note: {path} could not be kept: {error}.")
            else:
                result.files.append(ProducedFile(file_id, path))

    async def _keep(self, held: PooledSession, call: HostedCall, result: CallResult, changed: ChangedFile) -> str:
        async def handed_on() -> AsyncGenerator[bytes, None]:
            async with aclosing(held.sandbox.get(changed.path, result.room)) as pieces:
                async for piece in pieces:
                    result.room -= len(piece)
                    yield piece

        name = os.path.basename(changed.path)
        async with aclosing(handed_on()) as pieces:
            return await self._files.keep(call.run, f"{call.id}/file/{changed.path}", name, pieces)

    async def _keep_image(self, call: HostedCall, result: CallResult, image: Image) -> str:
        number = result.images + 1
        name = f"image-{number}.{_ENDINGS[image.mime]}"
        return await self._files.keep(call.run, f"{call.id}/image/{number}", name, _once(image.data))


def _off(why: str) -> str:
    return f"Tools of type 'code_interpreter' are off on this server: {why}."


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
