"""The clients of a soak. Each does one thing after another, and notes in the ledger what the server acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import random
from abc import ABC, abstractmethod
from typing import Any

import openai
from openai import AsyncOpenAI

from tests.client import TERMINAL
from tests.soak.api import Api, Refused, Unanswered
from tests.soak.ledger import FileRecord, Ledger, PostRecord, RunRecord, ThreadRecord

POLL_S = 0.1
TURNS = (2, 6)
THINK_S = (0.0, 0.3)
CANCEL_SHARE = 0.06
LEAVE_SHARE = 0.01
STORE_FILES = 4
# Seconds that a client follows a run; a run that takes longer is looked at in the end.
RUN_S = 90.0
FUNCTION = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


class SoakClient(ABC):
    """A client. `use` does something whole; it may raise Unanswered or Refused at any point."""

    def __init__(self, name: str, api: Api, ledger: Ledger, source: random.Random) -> None:
        self.name = name
        self.api = api
        self.ledger = ledger
        self.random = source
        self._numbers = itertools.count(1)

    async def run(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            try:
                await self.use()
            except Unanswered:
                pass
            except Refused as error:
                self.ledger.faults.append(f"{self.name} was refused: {error}")
            await asyncio.sleep(self.random.uniform(*THINK_S))

    @abstractmethod
    async def use(self) -> None: ...

    async def make_assistant(self, **settings: Any) -> str:
        name = f"{self.name}-{next(self._numbers)}"
        made = await self.api.post("/assistants", {"model": "soak", "name": name, **settings})
        self.ledger.assistants[made["id"]] = name
        return str(made["id"])

    async def make_thread(self) -> ThreadRecord:
        name = f"{self.name}n{next(self._numbers)}"
        made = await self.api.post("/threads", {"metadata": {"name": name}})
        thread = ThreadRecord(name, made["id"])
        self.ledger.threads.append(thread)
        return thread

    async def post_message(self, thread: ThreadRecord, order: str) -> PostRecord:
        key = f"{thread.name}:{len(thread.posts) + 1}"
        post = PostRecord(key, f"Please answer <<{key}:{order}>> now.")
        thread.posts.append(post)
        post.id = await self.send_message(thread, post.text)
        return post

    async def send_message(self, thread: ThreadRecord, text: str) -> str:
        made = await self.api.post(f"/threads/{thread.id}/messages", {"role": "user", "content": text})
        return str(made["id"])

    async def set_step(self, thread: ThreadRecord, step: str) -> None:
        """Changes the metadata of the thread."""
        thread.unsure_steps.add(step)
        await self.api.post(f"/threads/{thread.id}", {"metadata": {"name": thread.name, "step": step}})
        thread.step, thread.unsure_steps = step, set()

    async def wait_for_run(self, thread: ThreadRecord, run: RunRecord) -> str:
        """Polls the run until it has ended or requires action. Raises Unanswered if that takes too long."""
        run.was_left = True
        try:
            async with asyncio.timeout(RUN_S):
                while True:
                    found = await self.api.get(f"/threads/{thread.id}/runs/{run.id}")
                    if found["status"] == "requires_action":
                        await self.submit(thread, run, found)
                    elif found["status"] in TERMINAL:
                        run.statuses.add(found["status"])
                        run.was_left = False
                        return str(found["status"])
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Unanswered(f"the run {run.id}") from None

    async def submit(self, thread: ThreadRecord, run: RunRecord, found: Any) -> None:
        """Submits the outputs that a run requires. The run may have ended meanwhile."""
        wanted = found["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {call["id"]: f"output {self.random.getrandbits(64):016x}" for call in wanted}
        body = {"tool_outputs": [{"tool_call_id": id, "output": output} for id, output in outputs.items()]}
        try:
            await self.api.post(f"/threads/{thread.id}/runs/{run.id}/submit_tool_outputs", body)
            run.outputs |= outputs
        except Refused as error:
            if b"Runs in status" not in error.body:
                raise


class RawTalker(SoakClient):
    """Talks by raw HTTP: `order` is `plain`, `function` or `code`. Cancels some runs."""

    def __init__(self, name: str, api: Api, ledger: Ledger, source: random.Random, order: str = "plain") -> None:
        super().__init__(name, api, ledger, source)
        self.order = order

    async def use(self) -> None:
        tools = {"function": [FUNCTION], "code": [{"type": "code_interpreter"}]}.get(self.order, [])
        assistant = await self.make_assistant(tools=tools)
        thread = await self.make_thread()
        for _ in range(self.random.randint(*TURNS)):
            post = await self.post_message(thread, self.order)
            run = RunRecord(post.marker, self.order)
            thread.runs.append(run)
            await self.take_turn(thread, run, assistant)
            await self.set_step(thread, post.marker)
        if self.random.random() < 0.1:
            await self.delete_assistant(assistant)

    async def delete_assistant(self, assistant: str) -> None:
        del self.ledger.assistants[assistant]
        try:
            await self.api.send("DELETE", f"/assistants/{assistant}")
        except Refused as error:
            if error.status != 404:  # an earlier try, whose answer was lost, has deleted it
                raise
        self.ledger.deleted.append(assistant)

    async def take_turn(self, thread: ThreadRecord, run: RunRecord, assistant: str) -> None:
        run.id = (await self.api.post(f"/threads/{thread.id}/runs", {"assistant_id": assistant}))["id"]
        if self.random.random() < CANCEL_SHARE:
            await asyncio.sleep(self.random.uniform(0, 0.5))
            try:
                await self.api.post(f"/threads/{thread.id}/runs/{run.id}/cancel", None)
                run.was_cancelled = True
            except Refused as error:
                if b"Cannot cancel run" not in error.body:
                    raise
        await self.wait_for_run(thread, run)


class StreamReader(RawTalker):
    """Reads streams, leaves them in the middle, and resumes them."""

    async def take_turn(self, thread: ThreadRecord, run: RunRecord, assistant: str) -> None:
        state = await self.api.stream_run(f"/threads/{thread.id}/runs", {"assistant_id": assistant}, LEAVE_SHARE)
        if state.run is None:
            self.ledger.faults.append(f"a stream of {run.key} ended without a run: {state.events}")
            return
        run.id = state.run["id"]
        doubled = [id for id, count in _counted(state.ids).items() if count > 1]
        if doubled:
            self.ledger.faults.append(f"the stream of {run.id} had frames twice: {doubled[:4]}")
        ends = [event for event in state.events if event.removeprefix("thread.run.") in TERMINAL]
        if len(ends) != 1:
            self.ledger.faults.append(f"the stream of {run.id} had the ends {ends} of its run")
        run.statuses.add(state.run["status"])
        run.streamed = state.texts


class SdkTalker(RawTalker):
    """Talks by the official SDK with its own retries."""

    def __init__(self, name: str, api: Api, ledger: Ledger, source: random.Random, *, sdk: AsyncOpenAI) -> None:
        super().__init__(name, api, ledger, source)
        self.sdk = sdk.beta.threads

    def _headers(self) -> dict[str, str]:
        return {"Idempotency-Key": self.api.new_key()}

    async def send_message(self, thread: ThreadRecord, text: str) -> str:
        self.ledger.requests["SDK"] += 1
        try:
            made = await self.sdk.messages.create(thread.id, role="user", content=text, extra_headers=self._headers())
        except openai.APIError as error:
            raise _converted(error) from None
        return made.id

    async def take_turn(self, thread: ThreadRecord, run: RunRecord, assistant: str) -> None:
        self.ledger.requests["SDK"] += 1
        try:
            made = await self.sdk.runs.create(thread.id, assistant_id=assistant, extra_headers=self._headers())
            run.id = made.id
            found = await asyncio.wait_for(self.sdk.runs.poll(made.id, thread_id=thread.id), RUN_S)
        except TimeoutError:
            raise Unanswered(f"the run {run.id}") from None
        except openai.APIError as error:
            raise _converted(error) from None
        run.statuses.add(found.status)


class FileKeeper(SoakClient):
    """Uploads files, and puts them into vector stores."""

    async def use(self) -> None:
        store = await self.api.post("/vector_stores", {"name": self.name})
        for number in range(self.random.randint(1, STORE_FILES)):
            words = " ".join(f"{self.random.getrandbits(32):08x}" for _ in range(self.random.randint(20, 400)))
            content = f"{self.name} {number}: {words}".encode()
            body = {"purpose": "assistants", "file": content, "name": f"{number}.txt"}
            made = await self.api.send("POST", "/files", body, key=self.api.new_key())
            record = FileRecord(made["id"], content)
            self.ledger.files.append(record)
            await self.api.post(f"/vector_stores/{store['id']}/files", {"file_id": record.id})
            record.store_id = store["id"]
        await asyncio.sleep(self.random.uniform(0.5, 2.0))


def _counted(ids: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for id in ids:
        counts[id] = counts.get(id, 0) + 1
    return counts


def _converted(error: openai.APIError) -> Exception:
    """Returns the error of the raw client for one of the SDK's."""
    if isinstance(error, openai.APIStatusError) and error.status_code not in (409, 429, 500, 502, 503, 504):
        return Refused(error.status_code, str(error.body).encode())
    return Unanswered(str(error))
