"""The clients of a simulation. They repeat a request under its Idempotency-Key until it is answered, on any process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any, Protocol

import asyncpg
import orjson

from events.actors import KeyActor
from events.envelope import EffectCounter, Origin, RecordedEvent
from events.errors import Conflict, DomainError
from events.ids import SeededIds
from events.streams import THREAD
from events.thread import events as e
from events.thread.commands import (
    AddMessage,
    CancelRun,
    CreateRun,
    CreateThread,
    DeleteMessage,
    DeleteThread,
    ModifyThread,
    NewMessage,
    SubmitToolOutputs,
    ThreadCommand,
)
from events.thread.run_status import TERMINAL
from events.vector_store import events as v
from events.vector_store.commands import RemoveFile
from events.vector_store.requests import FileToIndex, VectorStoreRequest
from projections import messages, runs
from projections import vector_store_files as store_files
from service.database import DATABASE_ERRORS
from service.idempotency.keys import AlreadyAnswered, KeyInUse, StoredAnswer
from sql.connection import Connection
from tests.events.thread.story import FUNCTION, SETTINGS
from tests.simulation.process import ConnectionLost, SimulatedProcess
from tests.simulation.scenario import Command

PROJECT = "proj_1"
ORIGIN = Origin(project_id=PROJECT, actor=KeyActor("key_1"))
FILES = ("file-1", "file-2")
CODE = {"type": "code_interpreter"}
TRIES = 40
RETRY_AFTER_S = 0.3
REQUEST_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.25
# Clients with higher numbers get in the way of those that talk in the threads.
AUTHORS = 10
# An answer: the stream, the versions that the request appended, their types, and the id of its object.
Answer = dict[str, Any]
Handler = Callable[[SimulatedProcess, Origin, SeededIds], Awaitable[Answer]]


@dataclass(slots=True)
class Request:
    """A request of a client and its end: the answer, a refusal, or neither if the client gave up.

    `answers` are all answers that its tries got. `text` is that of the message that it adds.
    """

    command: Command
    name: str
    id: str
    answers: list[Answer] = field(default_factory=list)
    refusal: str | None = None
    text: str | None = None


class Server(Protocol):
    """The processes, as clients reach them."""

    def any_process(self, random: Random) -> SimulatedProcess | None:
        """Returns a process that accepts requests, or None if there is none."""


class Clients:
    """All clients. `requests` are theirs, in the order in which they began."""

    def __init__(self, server: Server, seed: int) -> None:
        self.requests: list[Request] = []
        self._server = server
        self._seed = seed
        # The ids that requests learned: of threads by number, and of the newest run and message of each.
        self.threads: dict[int, str] = {}
        self.runs: dict[str, list[str]] = {}
        self._messages: dict[str, str] = {}
        self._stores: dict[int, str] = {}

    async def carry_out(self, commands: Sequence[Command]) -> None:
        """Carries out the commands of one client, one after another."""
        for command in commands:
            await asyncio.sleep(command.after_s)
            if command.client >= AUTHORS:
                await self._wait_for_run(command.thread)
            await self._carry_out(command)

    async def _wait_for_run(self, thread: int) -> None:
        """Waits until the thread has a run, but not for long: it may never get one."""
        for _ in range(20):
            if self.runs.get(self.threads.get(thread, "")):
                return
            await asyncio.sleep(LOOK_EVERY_S / 5)

    async def _carry_out(self, command: Command) -> None:
        thread_id = self.threads.get(command.thread)
        match command.kind:
            case "say" if thread_id is None:
                answer = await self._request(command, "create", self._create_thread)
                if answer is not None:
                    self.threads[command.thread] = answer["stream"]
                    self.runs[answer["stream"]] = []
            case "say" | "queue_message" if thread_id is not None:
                is_queued = command.kind == "queue_message"
                text = f"message {command.number}"
                answer = await self._request(command, "add", _adding(thread_id, text, is_queued), text=text)
                if answer is not None:
                    self._messages[thread_id] = answer["id"]
            case "run" if thread_id is not None:
                await self._run(command, thread_id)
            case "cancel" | "submit" if thread_id is not None and self.runs[thread_id]:
                change = _cancelling if command.kind == "cancel" else _submitting
                await self._request(command, command.kind, change(thread_id, self.runs[thread_id][-1]))
            case "delete_message" if thread_id is not None and thread_id in self._messages:
                await self._request(command, "delete", _deleting(thread_id, self._messages[thread_id]))
            case "modify" if thread_id is not None:
                change_to = ModifyThread({"metadata": {"n": str(command.number)}})
                await self._request(command, "modify", _changing(thread_id, change_to))
            case "delete_thread" if thread_id is not None:
                await self._request(command, "delete", _changing(thread_id, DeleteThread()))
            case "index":
                answer = await self._request(command, "index", _index)
                if answer is not None:
                    self._stores[command.thread] = answer["stream"]
            case "remove" if command.thread in self._stores:
                await self._request(command, "remove", _removing(self._stores[command.thread]))
            case _:
                pass  # its object does not exist, since an earlier request failed

    async def _run(self, command: Command, thread_id: str) -> None:
        """Creates a run and submits its tool outputs, until it has ended or the server does not answer."""
        answer = await self._request(command, "run", _running(thread_id, command))
        if answer is None:
            return
        run_id = answer["id"]
        self.runs[thread_id].append(run_id)
        for number in range(int((command.lifetime + 60) / LOOK_EVERY_S)):
            status = await self._read(lambda db: _status(db, thread_id, run_id))
            if status == "requires_action":
                await self._request(command, f"submit {number}", _submitting(thread_id, run_id))
            elif status is None or status in TERMINAL:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _read(self, read: Callable[[Connection], Awaitable[Any]]) -> Any:
        """Returns what a process reads. Returns "unknown" if it fails."""
        process = self._server.any_process(Random(f"{self._seed} read {len(self.requests)}"))
        if process is None:
            return "unknown"

        async def work() -> Any:
            async with process.pool.acquire() as db:
                return await read(db)

        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await process.request(work())
        except DomainError:
            return None
        except (ConnectionLost, TimeoutError, *DATABASE_ERRORS):
            return "unknown"

    async def _request(
        self, command: Command, name: str, handler: Handler, *, text: str | None = None
    ) -> Answer | None:
        """Sends a request until it is answered. Returns the answer, None if it was refused or never answered."""
        key = sha256(f"{self._seed} {command.number} {name}".encode()).digest()
        made = Request(command, name, request_id(key), text=text)
        self.requests.append(made)
        random = Random(f"{self._seed} {command.number} {name}")
        for _ in range(TRIES):
            process = self._server.any_process(random)
            if process is None:
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    answer = await process.request(answer_once(process, key, handler))
            except (ConnectionLost, TimeoutError, KeyInUse, Conflict, asyncpg.PostgresError, *DATABASE_ERRORS):
                await asyncio.sleep(RETRY_AFTER_S * (0.5 + random.random()))
                continue
            except DomainError as error:
                made.refusal = str(error) or type(error).__name__
                return None
            made.answers.append(answer)
            if random.random() < 0.1:
                continue  # the client did not get the answer
            return made.answers[-1]
        return made.answers[-1] if made.answers else None

    async def _create_thread(self, process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        thread_id = ids.new("thread")
        command = CreateThread({}, {}, [_message(ids, "the first message")])
        return _answer((await process.writer.thread(origin, thread_id, command)).recorded)


def request_id(key: bytes) -> str:
    """Returns the id of the requests with an Idempotency-Key."""
    return f"req_{key.hex()[:8]}"


async def answer_once(process: SimulatedProcess, key: bytes, handler: Handler) -> Answer:
    """Answers a request as `service.http.idempotency` does, which calls the same functions."""
    digest = sha256(key).digest()
    attempt = await process.keys.begin(key, digest, digest)
    try:
        if not (attempt.is_claimed and not attempt.is_repeat):
            await process.keys.settle(attempt, digest)
        origin = replace(ORIGIN, request_id=request_id(key), effects=EffectCounter(attempt.effects.seed))
        answer = await handler(process, origin, SeededIds(attempt.effects.seed))
        await process.keys.finish(attempt, StoredAnswer(200, {}, orjson.dumps(answer)))
    except AlreadyAnswered as answered:
        found: Answer = orjson.loads(answered.answer.content)
        return found
    except BaseException:
        await process.keys.release(attempt, keep=False)
        raise
    return answer


def _answer(recorded: Sequence[RecordedEvent[Any]], id: str | None = None) -> Answer:
    first = recorded[0] if recorded else None
    return {
        "stream": None if first is None else first.stream_id,
        "versions": [entry.version for entry in recorded],
        "types": [entry.event.type for entry in recorded],
        "id": id,
    }


def _message(ids: SeededIds, text: str) -> NewMessage:
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return NewMessage(ids.new("msg"), "user", content, (), {})


def _adding(thread_id: str, text: str, is_queued: bool) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        message = _message(ids, text)
        written = await process.writer.thread(origin, thread_id, AddMessage(message, is_queued))
        return _answer(written.recorded, message.id)

    return handle


def _running(thread_id: str, command: Command) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        run_id = ids.new("run")
        settings = replace(SETTINGS, model=f"m{command.number}", tools=(FUNCTION, CODE))
        with process.supervisor.offer(settings.tools) as claim:
            made = CreateRun(run_id, settings, (), command.lifetime, claim, queue=command.queue)
            written = await process.writer.find_repeat(THREAD, origin, thread_id)
            if written is None:
                written = await process.writer.thread(origin, thread_id, made)
        return _answer(written.recorded, run_id)

    return handle


def _cancelling(thread_id: str, run_id: str) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        with process.supervisor.offer() as claim:

            async def command(db: Connection) -> ThreadCommand:
                return CancelRun(run_id, (await runs.get(db, PROJECT, thread_id, run_id)).status, claim)

            return _answer((await process.writer.thread(origin, thread_id, command)).recorded, run_id)

    return handle


def _submitting(thread_id: str, run_id: str) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        with process.supervisor.offer() as claim:

            async def command(db: Connection) -> ThreadCommand:
                run = await runs.get(db, PROJECT, thread_id, run_id)
                outputs = [e.ToolOutput(tool_call_id=call["id"], output="1") for call in run.required_calls or ()]
                return SubmitToolOutputs(run_id, run.status, outputs, claim)

            return _answer((await process.writer.thread(origin, thread_id, command)).recorded, run_id)

    return handle


def _deleting(thread_id: str, message_id: str) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        async def command(db: Connection) -> ThreadCommand:
            return DeleteMessage(message_id, (await messages.get(db, PROJECT, thread_id, message_id)).role)

        return _answer((await process.writer.thread(origin, thread_id, command)).recorded, message_id)

    return handle


def _changing(thread_id: str, command: ThreadCommand) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        return _answer((await process.writer.thread(origin, thread_id, command)).recorded)

    return handle


async def _index(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
    store_id = ids.new_hex("vs")
    chunking = v.Chunking(max_chunk_size_tokens=800, chunk_overlap_tokens=400)
    files = tuple(FileToIndex(file_id, chunking, {}) for file_id in FILES)
    await process.stores.create(origin, store_id, VectorStoreRequest(None, None, {}, None, files))
    return {"stream": store_id, "versions": [1], "types": ["vector_store.created"], "id": store_id}


def _removing(store_id: str) -> Handler:
    async def handle(process: SimulatedProcess, origin: Origin, ids: SeededIds) -> Answer:
        async def command(db: Connection) -> RemoveFile:
            return RemoveFile(FILES[0], await store_files.fact(db, store_id, FILES[0]))

        return _answer((await process.writer.vector_store(origin, store_id, command)).recorded, FILES[0])

    return handle


async def _status(db: Connection, thread_id: str, run_id: str) -> str:
    return (await runs.get(db, PROJECT, thread_id, run_id)).status
