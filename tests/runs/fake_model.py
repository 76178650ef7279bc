"""A model in the test's own hands: each call plays a script of batches, holds and errors."""

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
    """A place where a reply stops until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def stand(self) -> None:
        """Returns once a reply stands here."""
        async with asyncio.timeout(WAIT_S):
            await self.reached.wait()


Move = Sequence[ModelEvent] | Hold | Exception
Script = Sequence[Move]
Answer = Callable[[ChatRequest], Script]


def says(*pieces: str, reason: FinishReason = "stop", usage: ModelUsage | None = USAGE) -> Script:
    """A text in pieces, one batch each."""
    return [*([TextDelta(piece)] for piece in pieces), [ModelStreamEnd(reason, usage, "m-1")]]


def asks(*names: str) -> Script:
    """Calls of these functions, in pieces."""
    batches: list[Move] = []
    for index, name in enumerate(names):
        batches.append([ToolCallDelta(index, f"upstream_{index}", name, "")])
        batches.append([ToolCallDelta(index, None, None, '{"a":'), ToolCallDelta(index, None, None, "1}")])
    return [*batches, [ModelStreamEnd("tool_calls", USAGE, "m-1")]]


def uses(name: str, *arguments: str) -> Script:
    """A call of each of these arguments to one function."""
    pieces = [[ToolCallDelta(index, f"up_{index}", name, one)] for index, one in enumerate(arguments)]
    return [*pieces, [ModelStreamEnd("tool_calls", USAGE, "m-1")]]


class FakeModel:
    """`answer` gives the script of each call; `requests` holds all calls, `closed` counts those ended early."""

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

    async def asked(self, times: int) -> None:
        """Returns once there were so many calls."""
        async with asyncio.timeout(WAIT_S):
            while len(self.requests) < times:
                self._asking.clear()
                await self._asking.wait()

    async def stopped(self) -> None:
        """Returns once a call was ended early."""
        async with asyncio.timeout(WAIT_S):
            await self._closing.wait()

    def info(self, model: str) -> ModelInfo:
        return ModelInfo("fake", self.window, "cl100k_base", 1.0, vision=self.vision, tools=True)

    async def prepare(self, model: str) -> None:
        """Nothing to load: a token is a character here."""

    def count_tokens(self, model: str, text: str) -> int:
        return len(text)

    def token_bound(self, model: str, text: str) -> int:
        return len(text.encode())

    async def check_health(self) -> str | None:
        return None
