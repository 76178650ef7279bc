"""A session: the runner in a sandbox, and the server's control over it.

The runner reports the end of a call, but the server does not trust it. The server measures the time, counts the
bytes and the CPU time, checks for leftover processes itself, and freezes the session's processes between calls, so that
a thread left running costs nothing. Anything that breaks the protocol ends the session.

When a call has used its wall time it gets an interrupt (SIGINT, as from Ctrl-C: variables stay), then a short grace
period, then the session is ended.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from service.sandbox.base import CallEnd, ChangedFile, FileRefused, Limits, Piece, SandboxDied, SandboxLost, Text
from service.sandbox.base import SandboxUnavailable as Unavailable
from service.sandbox.execution import CodeExecution
from service.sandbox.freezer import SessionFreezer
from service.sandbox.probe import missing_confinement, status_of
from service.sandbox.process import ConfinedProcess
from service.sandbox.protocol import (
    CHUNK,
    BadPacket,
    Data,
    End,
    FromInside,
    Reader,
    Ready,
    Refusal,
    encode,
    is_below_data,
)

GRACE_S = 5.0
# Time that the server waits for the sandbox in all exchanges of a call together, without the wall time of its code.
EXCHANGE_S = 60.0
# Time between two checks of the CPU time of a call.
CPU_LOOK_S = 1.0
# Time between two reads of output beyond its bound.
FLOOD_PAUSE_S = 0.005
# Checks for processes that are about to end: 25 × 20 ms.
_LOOKS, _LOOK_S = 25, 0.02
_LONGEST_CODE = 1024 * 1024


class Session:
    """The Sandbox of this machine. base.py documents its methods."""

    def __init__(
        self, process: ConfinedProcess, limits: Limits, *, outdated: Callable[[], bool] = lambda: False
    ) -> None:
        self._process = process
        self._limits = limits
        self._outdated = outdated
        self._reader = Reader()
        self._freezer: SessionFreezer | None = None  # from the start on
        self._known: set[int] = set()
        self._lost: str | None = None
        self._words = ""
        self._killed = 0  # processes killed for lack of memory before the current call
        self._patience_s = EXCHANGE_S  # the rest of EXCHANGE_S

    @property
    def is_lost(self) -> bool:
        return self._lost is not None

    def has_run_between_calls(self) -> bool:
        return self._lost is None and self._freezer is not None and self._freezer.has_run()

    @property
    def is_outdated(self) -> bool:
        return self._outdated()

    @property
    def memory(self) -> int | None:
        """Returns the bytes in use inside, or None if they are not counted."""
        return self._process.memory()

    async def start(self) -> None:
        """Waits for the runner and checks its confinement. Raises SandboxUnavailable."""
        try:
            packet, _ = await self._packet()
        except SandboxLost as error:
            raise SandboxDied(f"the sandbox did not start: {self._words or error}") from None
        found = await asyncio.to_thread(self._process.processes)
        if not isinstance(packet, Ready) or len(found) != 3:
            raise Unavailable("the sandbox did not start as it should")
        self._known, runner = {process.pid for process in found}, found[-1]
        self._freezer = SessionFreezer(self._process, runner)
        status = await asyncio.to_thread(status_of, runner.pid)
        if wrong := missing_confinement(status):
            raise Unavailable(f"a process in the sandbox is not confined: {wrong}")
        self._freeze()

    def begin_call(self) -> None:
        self._patience_s = EXCHANGE_S

    async def close(self) -> None:
        self._lost = self._lost or "it was closed"
        await self._process.close()

    async def execute(self, code: str) -> AsyncGenerator[Piece, None]:
        execution = CodeExecution(self._process, self._limits, secrets.randbelow(2**53))
        over = False
        try:
            try:
                self._open()
                await self._send(
                    {"do": "execute", "call": execution.number}, code.encode("utf-8", "replace")[:_LONGEST_CODE]
                )
                async for piece in self._follow(execution):
                    yield piece
                done = await self._end(execution)
                if rest := execution.drain_rest():  # includes the output of its last processes
                    yield Text(rest)
                if notice := execution.cut_notice():
                    yield Text(notice)
            except SandboxLost as error:
                await self._lose(str(error))
                if notice := execution.cut_notice():
                    yield Text(notice)
                done = CallEnd(failed=True, notes=tuple(execution.notes), lost=str(error))
            over = True
            yield done
        finally:
            # If the caller is cancelled, the code must stop, and its answer must not reach the next call.
            if not over:
                await self._lose("the call was stopped")

    async def put(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        if not is_below_data(path):
            raise FileRefused("it has no name that a file can have")
        async with self._exchange("a file was not written to its end"):
            await self._send({"do": "put", "path": path})
            broken = await self._pour(chunks)
            await self._send({"do": "end", "whole": broken is None})
            packet, _ = await self._packet()
            if not isinstance(packet, End | Refusal):
                raise await self._lose("it broke the protocol")
        if broken is not None:
            raise broken
        if isinstance(packet, Refusal):
            raise FileRefused(packet.why)

    async def arrange(self, gone: Sequence[str], names: Sequence[tuple[str, str]]) -> None:
        async with self._exchange("its files were not arranged"):
            await self._send({"do": "arrange", "gone": list(gone), "names": list(names)})
            packet, _ = await self._packet()
            if not isinstance(packet, End):
                raise await self._lose("it broke the protocol")

    async def _pour(self, chunks: AsyncIterator[bytes]) -> Exception | None:
        """Sends the chunks. Returns the error of their source, if there was one."""
        try:
            async for chunk in chunks:
                for at in range(0, len(chunk), CHUNK):
                    await self._send({"do": "data"}, chunk[at : at + CHUNK])
        except SandboxLost:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it was, the session ends the file first
            return error
        return None

    async def get(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        if not is_below_data(path):
            raise FileRefused("no such file")
        size, short, refused = 0, False, None
        async with self._exchange("a file was not read to its end"):
            await self._send({"do": "get", "path": path})
            while refused is None:
                packet, payload = await self._packet()
                match packet:
                    case Data() if payload and not short:
                        short = len(payload) != CHUNK  # only the last packet may be shorter than CHUNK
                        size += len(payload)
                        if size > at_most:
                            raise FileRefused(f"it is larger than {at_most} bytes")
                        yield payload
                    case Refusal(why=why):
                        refused = why
                    case End():
                        return
                    case _:
                        raise await self._lose("it broke the protocol")
        raise FileRefused(refused)

    @asynccontextmanager
    async def _exchange(self, broken: str) -> AsyncIterator[None]:
        """Exchanges packets. A cancellation ends the session, since remaining packets would reach the next exchange."""
        self._open()
        try:
            yield
        except BaseException:
            await self._lose(broken)
            raise
        self._freeze()

    async def _follow(self, execution: CodeExecution) -> AsyncGenerator[Piece, None]:
        """Yields the pieces of a call until the runner reports its end. Raises SandboxLost."""
        loop = asyncio.get_running_loop()
        deadline, look = loop.time() + self._limits.wall_s, loop.time() + CPU_LOOK_S
        while True:
            if text := execution.drain():
                yield Text(text)
            packet = await self._next()
            if packet is None and execution.is_deaf:
                raise await self._lose(await self._process.end_reason(self._killed))
            if packet is not None:
                if text := execution.drain():  # output printed before the packet was sent
                    yield Text(text)
                content, payload = packet
                if execution.take(content, payload):
                    return
                if image := execution.take_image():
                    yield image
                if execution.take_pause():
                    await self._send({"do": "on"})
            if (flood := execution.take_flood()) or loop.time() >= deadline:
                if execution.is_interrupted:
                    raise await self._lose(f"it did not stop {GRACE_S:.0f} s after an interrupt")
                execution.interrupt(
                    "its output went far past the bound" if flood else f"it ran {self._limits.wall_s:.0f} s"
                )
                if self._freezer is not None:
                    self._freezer.signal(signal.SIGINT)
                deadline = loop.time() + GRACE_S
            await asyncio.sleep(FLOOD_PAUSE_S if execution.is_cut else 0)
            if loop.time() >= look:
                await self._check_cpu()
                look = loop.time() + CPU_LOOK_S
            if packet is None:
                await self._process.readable(execution.pipes, min(deadline, look) - loop.time())

    async def _end(self, execution: CodeExecution) -> CallEnd:
        """Checks the end that the runner reported. Raises SandboxLost."""
        assert execution.finished is not None
        await self._check_cpu()
        for _ in range(_LOOKS):
            if not self._process.strangers(self._known):
                break
            await asyncio.sleep(_LOOK_S)
        else:
            raise await self._lose("it left processes running")
        self._freeze()
        if execution.is_interrupted:
            execution.notes.append("Variables are kept.")
        finished = execution.finished
        below = [file for file in finished.files if is_below_data(file.path)]
        changed = {file.path: ChangedFile(file.path, file.size) for file in below}
        if finished.unlisted:
            execution.notes.append(
                f"{finished.unlisted} more files were changed; they are not handed on: "
                "there are too many, or their names are too long or no UTF-8."
            )
        return CallEnd(failed=finished.failed, changed=tuple(changed.values()), notes=tuple(execution.notes))

    def _open(self) -> None:
        if self._lost is not None:
            raise SandboxLost(self._lost)
        self._killed = self._process.killed_for_memory
        if self._freezer is not None:
            self._freezer.thaw()

    def _freeze(self) -> None:
        """Stops all processes until the next call or exchange."""
        if self._freezer is not None:
            self._freezer.freeze()

    async def _check_cpu(self) -> None:
        """Raises SandboxLost if the session has used more CPU time than it may."""
        used_s = await asyncio.to_thread(self._process.cpu_s)
        if used_s > self._limits.cpu_s:
            raise await self._lose(f"it used {used_s:.0f} s of CPU time, and a session may use {self._limits.cpu_s} s")

    async def _send(self, head: dict[str, Any], payload: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._process.write(encode(head, payload), self._patience_s)
        except BrokenPipeError:
            raise await self._lose(await self._process.end_reason(self._killed)) from None
        except TimeoutError:
            raise await self._lose("it does not read what it is sent") from None
        finally:
            self._patience_s -= loop.time() - began

    async def _packet(self) -> tuple[FromInside, bytes]:
        """Returns the next packet. Output that is printed in the meantime is dropped. Raises SandboxLost."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self._patience_s
        try:
            while (packet := await self._next()) is None:
                left = deadline - loop.time()
                if left <= 0 or not await self._process.readable([self._process.output], left):
                    raise await self._lose("it does not answer")
        finally:
            self._patience_s -= loop.time() - began
        return packet

    async def _next(self) -> tuple[FromInside, bytes] | None:
        """Returns a packet that is available now, or None. Raises SandboxLost."""
        try:
            while (packet := self._reader.next()) is None:
                data = self._process.read(self._process.output, self._reader.room)
                if data is None:
                    return None
                if data == b"":
                    raise await self._lose(await self._process.end_reason(self._killed))
                self._reader.feed(data)
        except BadPacket:
            raise await self._lose("it broke the protocol") from None
        return packet

    async def _lose(self, why: str) -> SandboxLost:
        self._lost = self._lost or why
        if self._freezer is None:
            self._words = self._process.last_words()
        await self.close()
        return SandboxLost(self._lost)
