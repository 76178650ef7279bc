"""A fake model that tests control: each call plays a script of batches, holds and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from service.model.base import (
    ChatRequest,
    FinishReason,
    ModelEvent,
    ModelInfo,
    ModelStreamEnd,
    ModelUsage,
    TextDelta,
    ToolCallDelta,
)

WAIT_S = 60.0
USAGE = ModelUsage(prompt_tokens=10, completion_tokens=5)


class Hold:
    """A point in a script at which the reply waits until the test sets `opened`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait(self) -> None:
        """Waits until a reply has reached this point."""
        async with asyncio.timeout(WAIT_S):
            await self.reached.wait()


Move = Sequence[ModelEvent] | Hold | Exception
Script = Sequence[Move]
Answer = Callable[[ChatRequest], Script]


def says(*pieces: str, reason: FinishReason = "stop", usage: ModelUsage | None = USAGE) -> Script:
    """Returns a script that writes a text in pieces, one batch for each."""
    return [*([TextDelta(piece)] for piece in pieces), [ModelStreamEnd(reason, usage, "m-1")]]


def asks(*names: str) -> Script:
    """Returns a script that calls these functions, in pieces."""
    batches: list[Move] = []
    for index, name in enumerate(names):
        batches.append([ToolCallDelta(index, f"upstream_{index}", name, "")])
        batches.append([ToolCallDelta(index, None, None, '{"a":'), ToolCallDelta(index, None, None, "1}")])
    return [*batches, [ModelStreamEnd("tool_calls", USAGE, "m-1")]]


def uses(name: str, *arguments: str) -> Script:
    """Returns a script that calls a function once for each of these arguments."""
    pieces = [[ToolCallDelta(index, f"up_{index}", name, one)] for index, one in enumerate(arguments)]
    return [*pieces, [ModelStreamEnd("tool_calls", USAGE, "m-1")]]


class FakeModel:
    """`answer` returns the script of a call. `requests` holds all requests; `closed` counts those that ended early."""

    def __init__(self, answer: Answer | None = None, *scripts: Script) -> None:
        self.requests: list[ChatRequest] = []
        self.closed = 0
        self.window = 8192
        self.vision = False
        self._answer = answer
        self._scripts = list(scripts)
        self._closing = asyncio.Event()
        self._asking = asyncio.Event()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        self.requests.append(request)
        self._asking.set()
        script = self._answer(request) if self._answer else self._scripts.pop(0)
        whole = False
        try:
            for move in script:
                if isinstance(move, Hold):
                    move.reached.set()
                    await move.opened.wait()
                elif isinstance(move, Exception):
                    whole = True
                    raise move
                else:
                    yield move
            whole = True
        finally:
            if not whole:
                self.closed += 1
                self._closing.set()

    async def wait_for_requests(self, times: int) -> None:
        """Waits until so many requests have arrived."""
        async with asyncio.timeout(WAIT_S):
            while len(self.requests) < times:
                self._asking.clear()
                await self._asking.wait()

    async def wait_for_stop(self) -> None:
        """Waits until a call has ended early."""
        async with asyncio.timeout(WAIT_S):
            await self._closing.wait()

    def info(self, model: str) -> ModelInfo:
        return ModelInfo("fake", self.window, "cl100k_base", 1.0, vision=self.vision, tools=True)

    async def prepare(self, model: str) -> None:
        """Does nothing: a token of this model is a character."""

    def count_tokens(self, model: str, text: str) -> int:
        return len(text)

    def token_bound(self, model: str, text: str) -> int:
        return len(text.encode())

    async def check_health(self) -> str | None:
        return None
