"""The world outside the processes: a model, a hosted tool, an indexer and a receiver of webhooks. They note every call.

A reply is determined by the name of the run's model, which names the command that created the run, and by the number
and attempt of the call.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
from contextvars import ContextVar
from random import Random
from typing import Any, ClassVar

from service.model.base import (
    ChatRequest,
    ModelError,
    ModelEvent,
    ModelInfo,
    ModelStreamEnd,
    ModelUsage,
    TextDelta,
    ToolCallDelta,
)
from service.runs.model_call import ModelCall, ModelCaller
from service.search.base import IndexingJob, IndexingResult, RevokedJob
from service.tools.base import CrashPolicy, HostedCall, HostedRun, Json, LogPiece, Piece, ToolResult, ToolType
from service.webhooks.sender import DeliveryOutcome
from tests.simulation.scenario import Reply
from tests.simulation.store import Store

USAGE = ModelUsage(prompt_tokens=10, completion_tokens=5)
PIECES = 3
# The run, number and attempt of a model call.
CallKey = tuple[str, int, int]

_call: ContextVar[CallKey] = ContextVar("call")
_perform = ModelCaller.perform


async def perform_noted(self: ModelCaller, model_call: ModelCall, publish: Any) -> None:
    """Makes a model call, and lets the model know which one it is. Takes the place of `ModelCaller.perform`."""
    _call.set((model_call.run.id, model_call.call.number, model_call.call.attempt))
    await _perform(self, model_call, publish)


class OutsideWorld:
    """The notes of all calls. `replies` has those to each run, by the name of its model."""

    def __init__(self, random: Random, store: Store, *, is_tool_repeatable: bool) -> None:
        self.random = random
        self.store = store
        self.replies: dict[str, Sequence[Reply]] = {}
        self.after_crash: CrashPolicy = "again" if is_tool_repeatable else "report"
        # How often each attempt was made, and the whole text of each reply that came to its end.
        self.model_calls: Counter[CallKey] = Counter()
        self.texts: dict[CallKey, str] = {}
        self.tool_calls: Counter[tuple[str, int]] = Counter()
        # The messages that the receiver accepted, in order: endpoint, and id of the message.
        self.deliveries: list[str] = []
        self.refused: set[str] = set()
        self.indexed: Counter[tuple[str, str, int]] = Counter()

    async def pause(self, longest_s: float = 0.03) -> None:
        """Waits as long as a far-away server may take."""
        await asyncio.sleep(self.random.random() * longest_s)


class SimulatedModel:
    """The model of a process."""

    def __init__(self, world: OutsideWorld) -> None:
        self._world = world

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        world, key = self._world, _call.get()
        run_id, number, attempt = key
        world.model_calls[key] += 1
        replies = world.replies[request.model]
        reply: Reply = replies[number - 1] if number <= len(replies) else "text"
        await world.pause()
        if reply == "refused":
            raise ModelError("invalid_prompt", "It refuses.")
        if reply == "broken" and attempt > 1:
            reply = "text"
        text = ""
        if reply not in ("functions", "code"):
            for piece in range(PIECES):
                await world.pause(1.5 if reply == "slow" else 0.05)
                if reply == "broken" and piece == 1:
                    raise ModelError("server_error", "The stream broke.")
                text += f"{run_id[-6:]}.{number}.{attempt}.{piece} "
                yield [TextDelta(f"{run_id[-6:]}.{number}.{attempt}.{piece} ")]
        calls: list[ModelEvent] = []
        if reply in ("functions", "both"):
            calls += [ToolCallDelta(index, f"up_{index}", "weather", "{}") for index in range(2)]
        if reply in ("code", "both"):
            calls.append(ToolCallDelta(len(calls), "up_code", "code_interpreter", '{"code": "1"}'))
        if calls:
            yield calls
        world.texts[key] = text
        yield [ModelStreamEnd("tool_calls" if calls else "stop", USAGE, "m-1")]

    def info(self, model: str) -> ModelInfo:
        return ModelInfo("simulated", 8192, "cl100k_base", 1.0, vision=False, tools=True)

    async def prepare(self, model: str) -> None:
        """Does nothing: a token of this model is a character."""

    def count_tokens(self, model: str, text: str) -> int:
        return len(text)

    def token_bound(self, model: str, text: str) -> int:
        return len(text.encode()) // 4

    async def check_health(self) -> str | None:
        return None


class SimulatedTool:
    """The code interpreter of a process."""

    type: ToolType = "code_interpreter"
    description = "Runs code."
    parameters: ClassVar[Json] = {"type": "object", "properties": {"code": {"type": "string"}}}
    unavailable_reason: str | None = None

    def __init__(self, world: OutsideWorld) -> None:
        self._world = world
        self.after_crash: CrashPolicy = world.after_crash

    async def brief(self, run: HostedRun) -> str:
        return ""

    async def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        self._world.tool_calls[call.id, call.attempt] += 1
        await self._world.pause(0.3)
        yield LogPiece(0, "1")
        await self._world.pause(0.1)
        yield ToolResult("1", outputs=[{"type": "logs", "logs": "1"}])


class SimulatedIndexer:
    """The indexer of a process. It writes chunks only under the current job, as the Protocol says."""

    embedding_model = "minilm"

    def __init__(self, world: OutsideWorld) -> None:
        self._world = world

    def can_index(self, filename: str) -> bool:
        return True

    async def index(self, job: IndexingJob) -> IndexingResult:
        await self._world.pause(0.6)
        stream = self._world.store.streams[job.store_id]
        row = stream.rows.tables["vector_store_files"].get((job.store_id, job.file_id))
        if row is None or (row["status"], row["job"]) != ("in_progress", job.number):
            raise RevokedJob
        self._world.indexed[job.store_id, job.file_id, job.number] += 1
        await self._world.pause()
        return IndexingResult(100, 1)

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        await self._world.pause()

    async def sweep(self) -> None:
        await self._world.pause()

    async def renew_words(self) -> int:
        return 0


class SimulatedReceiver:
    """The receiver of webhooks, as the couriers of a process reach it. It refuses one message in eight at
    first."""

    allow_private = False

    def __init__(self, world: OutsideWorld) -> None:
        self._world = world

    async def send(self, url: str, secrets: Sequence[str], id: str, body: bytes) -> DeliveryOutcome:
        await self._world.pause(0.2)
        if id not in self._world.refused and self._world.random.random() < 0.12:
            self._world.refused.add(id)
            return DeliveryOutcome(503, "answered with 503", 0.0)
        self._world.deliveries.append(id)
        await self._world.pause()
        return DeliveryOutcome(200, None, 0.0)
