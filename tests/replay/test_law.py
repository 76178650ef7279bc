"""The law of time travel: what GET answered while a random history was made is what it answers with `at` that version,
or that time, byte for byte. What may differ is listed in docs/replay.md, "Objects as they were".
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.database import Pool
from tests.client import V1, Client
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key
from tests.http.stores import file_named, settled
from tests.replay.recorder import Recorder
from tests.scripted import ScriptedServer, calls, says

pytestmark = pytest.mark.slow

WEATHER = {"type": "function", "function": {"name": "weather"}}
CODE = [{"type": "code_interpreter"}]
# Recordings of an example that are compared.
COMPARED = 30
ACTS = (
    *("add_message", "attach", "modify_message", "delete_message", "modify_thread", "modify_run", "modify_assistant"),
    *("run", "fail", "call_function", "cancel_call", "cancel", "delete_file"),
    *("fill_store", "batch", "remove_from_store", "change_attributes", "modify_store"),
)
HISTORY = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 9)), min_size=2, max_size=6)


class Story:
    """One history: an assistant, a thread and a vector store, and the acts that clients perform on them."""

    def __init__(self, client: Client, v1: Client, model: ScriptedServer, recorder: Recorder) -> None:
        self.client = client
        self.v1 = v1
        self.model = model
        self.recorder = recorder
        self.assistant = self.thread = self.store = ""
        self.messages: list[str] = []
        self.runs: list[str] = []
        self.files: list[str] = []
        self.batches: list[str] = []

    async def begin(self) -> None:
        """Creates the objects, and records them."""
        self.assistant = (await assistant_with(self.client, tools=[WEATHER], metadata={"a": "b"}))["id"]
        self.thread = (await thread_with(self.client, "Hi"))["id"]
        self.store = (await self.client.post("/vector_stores", {"name": "s"}))["id"]
        await self.record()

    async def perform(self, act: str, number: int) -> None:
        """Performs an act, and records the objects after it."""
        await getattr(self, f"_{act}")(number)
        await self.record()

    async def record(self) -> None:
        """Records every object of the story, and their lists."""
        messages, runs = f"/threads/{self.thread}/messages", f"/threads/{self.thread}/runs"
        self.messages = [one["id"] for one in (await self.client.get(messages, limit="100"))["data"]]
        steps = [f"{runs}/{id}/steps" for id in self.runs[-3:]]
        singles = [*(f"{messages}/{id}" for id in self.messages[:3]), *(f"{runs}/{id}" for id in self.runs[-3:])]
        for path in steps[-1:]:
            singles += [f"{path}/{one['id']}" for one in (await self.client.get(path))["data"]]
        lists = [messages, f"{messages}?limit=2&order=asc", runs, f"{runs}?limit=1", *steps]
        if self.runs:
            lists.append(f"{messages}?run_id={self.runs[-1]}")
        await self.recorder.record(self.client, self.thread, [f"/threads/{self.thread}", *singles, *lists])
        await self.recorder.record(self.v1, self.thread, [f"/threads/{self.thread}", messages, runs, *steps[-1:]])
        await self.recorder.record(self.client, self.assistant, [f"/assistants/{self.assistant}"])
        store = f"/vector_stores/{self.store}"
        batches = [f"{store}/file_batches/{id}" for id in self.batches]
        paths = [store, f"{store}/files", f"{store}/files?limit=1", *batches, *(f"{path}/files" for path in batches)]
        await self.recorder.record(self.client, self.store, paths)
        for path in ("/threads?limit=3", "/assistants?limit=2&order=desc", "/vector_stores?limit=2"):
            await self.recorder.record_list(self.client, path)

    async def _add_message(self, number: int) -> None:
        body = {"role": "user", "content": f"Message {number} ünïcode", "metadata": {"n": str(number)}}
        await self.client.post(f"/threads/{self.thread}/messages", body)

    async def _attach(self, number: int) -> None:
        attachment = {"file_id": await self._file("m"), "tools": CODE}
        body = {"role": "user", "content": "See", "attachments": [attachment]}
        await self.client.post(f"/threads/{self.thread}/messages", body)

    async def _modify_message(self, number: int) -> None:
        if self.messages:
            path = f"/threads/{self.thread}/messages/{self.messages[number % len(self.messages)]}"
            await self.client.post(path, {"metadata": {"changed": str(number)}})

    async def _delete_message(self, number: int) -> None:
        if self.messages:
            await self.client.delete(f"/threads/{self.thread}/messages/{self.messages[number % len(self.messages)]}")

    async def _modify_thread(self, number: int) -> None:
        resources = {"code_interpreter": {"file_ids": [await self._file("t")] if number % 2 else []}}
        body = {"metadata": {"n": str(number)}, **({"tool_resources": resources} if number % 3 else {})}
        await self.client.post(f"/threads/{self.thread}", body)

    async def _modify_assistant(self, number: int) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {"name": f"N{number}"},
            {"instructions": None, "temperature": 0.5},
            {"metadata": {}},
            {"top_p": 1},
        )
        await self.client.post(f"/assistants/{self.assistant}", changes[number % 4])

    async def _modify_run(self, number: int) -> None:
        if self.runs:
            path = f"/threads/{self.thread}/runs/{self.runs[number % len(self.runs)]}"
            await self.client.post(path, {"metadata": {"n": str(number)}})

    async def _run(self, number: int) -> None:
        self.model.script(says(f"Answer {number}."))
        await self.client.settled(await self._start())

    async def _fail(self, number: int) -> None:
        body = {"assistant_id": self.assistant, "max_completion_tokens": 256, "metadata": {"n": str(number)}}
        self.model.script(says("Too long", finish="length"))
        run = await self.client.post(f"/threads/{self.thread}/runs", body)
        self.runs.append(run["id"])
        await self.client.settled(run)

    async def _call_function(self, number: int) -> None:
        run = await self._until_action(number)
        self.model.script(says(f"It is {number} degrees."))
        outputs = [{"tool_call_id": id, "output": str(number)} for id in call_ids(run)]
        path = f"/threads/{self.thread}/runs/{run['id']}/submit_tool_outputs"
        await self.client.settled(await self.client.post(path, {"tool_outputs": outputs}))

    async def _cancel_call(self, number: int) -> None:
        run = await self._until_action(number)
        await self.client.settled(await self.client.post(f"/threads/{self.thread}/runs/{run['id']}/cancel"))

    async def _cancel(self, number: int) -> None:
        gate = f"gate {len(self.recorder.recordings)}"
        self.model.script(says("One two three.").waits(gate, before=number % 3))
        run = await self._start()
        await self.model.wait_for_gate(gate)
        await self.record()
        await self.client.settled(await self.client.post(f"/threads/{self.thread}/runs/{run['id']}/cancel"))

    async def _delete_file(self, number: int) -> None:
        if self.files:
            await self.client.delete(f"/files/{self.files.pop(number % len(self.files))}")

    async def _fill_store(self, number: int) -> None:
        body = {"file_id": await self._file("s"), "attributes": {"b": number, "aa": 0.5, "c": True}}
        await self.client.post(f"/vector_stores/{self.store}/files", body)
        await settled(self.client, self.store)

    async def _batch(self, number: int) -> None:
        ids = [await self._file("b"), *self.files[:1]]
        made = await self.client.post(
            f"/vector_stores/{self.store}/file_batches", {"file_ids": list(dict.fromkeys(ids))}
        )
        self.batches = [*self.batches[-1:], made["id"]]
        await settled(self.client, self.store)

    async def _remove_from_store(self, number: int) -> None:
        for id in await self._stored(number):
            await self.client.delete(f"/vector_stores/{self.store}/files/{id}")

    async def _change_attributes(self, number: int) -> None:
        for id in await self._stored(number):
            body = {"attributes": {"long name": "x", "y": number / 2}}
            await self.client.post(f"/vector_stores/{self.store}/files/{id}", body)

    async def _modify_store(self, number: int) -> None:
        expiry = {"anchor": "last_active_at", "days": number + 1} if number % 2 else None
        await self.client.post(f"/vector_stores/{self.store}", {"name": f"s{number}", "expires_after": expiry})

    async def _stored(self, number: int) -> list[str]:
        """Returns one of the store's files, if it has any."""
        found = [one["id"] for one in (await self.client.get(f"/vector_stores/{self.store}/files"))["data"]]
        return found[number % len(found) :][:1] if found else []

    async def _file(self, name: str) -> str:
        self.files.append(await file_named(self.client, f"{name}.txt"))
        return self.files[-1]

    async def _start(self) -> Any:
        run = await self.client.post(f"/threads/{self.thread}/runs", {"assistant_id": self.assistant})
        self.runs.append(run["id"])
        return run

    async def _until_action(self, number: int) -> Any:
        self.model.script(calls(*[("weather", {"city": f"C{n}"}) for n in range(number % 2 + 1)]))
        run = await self.client.settled(await self._start())
        await self.record()
        return run


def call_ids(run: Any) -> list[str]:
    """Returns the ids of the calls whose outputs a run waits for."""
    return [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]


async def test_each_act_once(client: Client, pool: Pool, model: ScriptedServer) -> None:
    await _check([(act, number) for number, act in enumerate(ACTS)], Random(1), client, pool, model, most=150)


@given(history=HISTORY, random=st.randoms(use_true_random=False))
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_past_is_what_was_answered(
    history: list[tuple[str, int]], random: Random, client: Client, pool: Pool, model: ScriptedServer
) -> None:
    await _check(history, random, client, pool, model, most=COMPARED)


async def _check(
    history: list[tuple[str, int]], random: Random, client: Client, pool: Pool, model: ScriptedServer, *, most: int
) -> None:
    """Makes a history, and compares up to `most` of its recordings, as an auditor sees them: with what was deleted."""
    auditor = await as_key(client, pool, scope="audit:content")
    async with auditor, Client(client.base_url, beta=V1) as v1:
        story = Story(client, v1, model, Recorder(pool))
        await story.begin()
        for act, number in history:
            await story.perform(act, number)
        await story.recorder.compare(auditor, random, most)
