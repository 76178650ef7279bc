"""A fake hosted tool that tests control: each call plays a script of pieces, holds and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from service.tools.base import CrashPolicy, HostedCall, HostedRun, Json, Piece, ToolResult, ToolType
from tests.runs.fake_model import WAIT_S, Hold

Move = Piece | ToolResult | Hold | BaseException
Answer = Callable[[HostedCall], Sequence[Move]]

PARAMETERS: dict[str, Json] = {
    "code_interpreter": {
        "type": "object",
        "properties": {"code": {"type": "string"}},
        "required": ["code"],
        "examples": [{"code": "print(2 + 3)"}],
    },
    "file_search": {
        "type": "object",
        "properties": {"queries": {"type": "array", "items": {"type": "string"}}},
        "required": ["queries"],
    },
}


def logs(text: str) -> ToolResult:
    """Returns the script of code that prints this text."""
    return ToolResult(text, outputs=[{"type": "logs", "logs": text}])


class FakeTool:
    """`calls` holds all calls; `closed` counts those that ended early."""

    def __init__(
        self,
        kind: ToolType = "code_interpreter",
        answer: Answer = lambda call: [logs("2")],
        *,
        after_crash: CrashPolicy = "again",
        unavailable_reason: str | None = None,
        brief: str | BaseException | Hold = "",
    ) -> None:
        self.type: ToolType = kind
        self.description = f"What {kind} does."
        self.parameters = PARAMETERS[kind]
        self.after_crash: CrashPolicy = after_crash
        self.unavailable_reason = unavailable_reason
        self.calls: list[HostedCall] = []
        self.closed = 0
        self.runs: list[HostedRun] = []
        self._answer = answer
        self._brief = brief
        self._closing = asyncio.Event()
        self._asking = asyncio.Event()

    async def brief(self, run: HostedRun) -> str:
        self.runs.append(run)
        if isinstance(self._brief, BaseException):
            raise self._brief
        if isinstance(self._brief, Hold):
            self._brief.reached.set()
            await self._brief.opened.wait()
            return ""
        return self._brief

    async def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        self.calls.append(call)
        self._asking.set()
        whole = False
        try:
            for move in self._answer(call):
                if isinstance(move, Hold):
                    move.reached.set()
                    await move.opened.wait()
                elif isinstance(move, BaseException):
                    whole = True
                    raise move
                else:
                    whole = isinstance(move, ToolResult)
                    yield move
            whole = True
        finally:
            if not whole:
                self.closed += 1
                self._closing.set()

    async def wait_for_stop(self) -> None:
        """Waits until a call has ended early."""
        async with asyncio.timeout(WAIT_S):
            await self._closing.wait()

    async def wait_for_calls(self, times: int) -> None:
        """Waits until so many calls have been made."""
        async with asyncio.timeout(WAIT_S):
            while len(self.calls) < times:
                self._asking.clear()
                await self._asking.wait()
