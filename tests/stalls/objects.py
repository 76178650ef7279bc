"""Objects on a server that requests of every operation can name: small ones, and the largest ones."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.wire.fields import MAX_CONTENT, MAX_OUTPUT, MAX_PAGE
from tests.client import Client
from tests.http.files import form, send
from tests.scripted import ScriptedServer, calls
from tests.stalls.worst_bodies import EMOJI, LEGAL, MODEL, metadata, parts

Ids = Mapping[str, str]
# Requests that are sent at the same time while many objects are created.
AT_ONCE = 8
_UPLOAD = {"filename": "a.txt", "purpose": "assistants", "bytes": 4, "mime_type": "text/plain"}


async def create_objects(client: Client) -> dict[str, str]:
    """Creates one object of each kind, and returns their ids by the names of the path's parameters."""
    assistant = await client.post("/assistants", {"model": MODEL})
    thread = await client.post("/threads")
    message = await client.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Hi"})
    run = await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
    steps = await client.get(f"/threads/{thread['id']}/runs/{run['id']}/steps")
    file = (await send(client, form(b"text", (("purpose", "assistants"),)))).body
    store = await client.post("/vector_stores", {})
    batch = await client.post(f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file["id"]]})
    upload = await client.post("/uploads", _UPLOAD)
    project = await client.post("/organization/projects", {"name": f"Project {uuid.uuid4()}"})
    key = await client.post(f"/organization/projects/{project['id']}/api_keys", {"name": "Key"})
    hold = await client.post(
        "/organization/holds", {"project_id": project["id"], "reason": "A case", "metadata": {"case": "7"}}
    )
    return {
        "assistant_id": assistant["id"],
        "thread_id": thread["id"],
        "message_id": message["id"],
        "run_id": run["id"],
        "step_id": steps["data"][0]["id"],
        "file_id": file["id"],
        "vector_store_id": store["id"],
        "batch_id": batch["id"],
        "upload_id": upload["id"],
        "webhook_endpoint_id": "we_none",
        "project_id": project["id"],
        "key_id": key["id"],
        "version": "1",
        "view": "threads",
        "file": "main.js",
        "model": MODEL,
        "epoch": "1",
        "tile": "0/000",
        "stream_id": thread["id"],
        "hold_id": hold["id"],
    }


async def create_large_objects(client: Client, model: ScriptedServer, files: int) -> dict[str, str]:
    """Creates the largest objects of each kind, in numbers that fill a page of each list. Returns ids of some.

    `files` is the number of files of the project; of them a page is in the vector store.
    """
    ids = await create_objects(client)
    for _ in range(20):
        ids["assistant_id"] = (await client.post("/assistants", LEGAL["POST /v1/assistants"]()))["id"]
    await _gather(MAX_PAGE, lambda n: client.post("/threads", {"metadata": metadata()}))
    ids |= await _large_thread(client, model, ids["assistant_id"])
    await _gather(MAX_PAGE, lambda n: client.post("/vector_stores", {"metadata": metadata()}))
    created = await _gather(files, lambda n: send(client, form(b"%d" % n, (("purpose", "assistants"),))))
    chosen = [{"file_id": answer.body["id"], "attributes": _attributes()} for answer in created[:MAX_PAGE]]
    batch = await client.post(f"/vector_stores/{ids['vector_store_id']}/file_batches", {"files": chosen})
    return {**ids, "batch_id": batch["id"], "file_id": chosen[0]["file_id"]}


async def _large_thread(client: Client, model: ScriptedServer, assistant_id: str) -> Ids:
    """Creates a thread with large runs, steps and messages, the largest last."""
    thread = await client.post("/threads", {"metadata": metadata()})
    path, ids = f"/threads/{thread['id']}", {"thread_id": thread["id"]}
    for _ in range(5):
        run = await waiting_run(client, model, thread["id"], assistant_id)
        outputs = [{"tool_call_id": run["call_id"], "output": "x" * MAX_OUTPUT}]
        path_of_run = f"{path}/runs/{run['run_id']}"
        await client.settled(await client.post(f"{path_of_run}/submit_tool_outputs", {"tool_outputs": outputs}))
        steps = await client.get(f"{path_of_run}/steps", order="asc")
        ids |= {"run_id": run["run_id"], "step_id": steps["data"][0]["id"]}
    for content in (EMOJI * MAX_CONTENT, parts()):
        for _ in range(5):
            message = await client.post(f"{path}/messages", {"role": "user", "content": content})
    return {**ids, "message_id": message["id"]}


def _attributes() -> dict[str, Any]:
    return {f"{n:02}".ljust(64, "k"): EMOJI * 256 for n in range(16)}


async def _gather(count: int, create: Callable[[int], Awaitable[Any]]) -> list[Any]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> Any:
        async with places:
            return await create(n)

    return await asyncio.gather(*(one(n) for n in range(count)))


async def waiting_run(client: Client, model: ScriptedServer, thread_id: str, assistant_id: str) -> Ids:
    """Starts a run that waits for the output of a function. Returns its id, the thread's, and that of the call."""
    model.script(calls(("f", {})))
    run = await client.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id})
    run = await client.settled(run)
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]
    return {"thread_id": thread_id, "run_id": run["id"], "call_id": call["id"]}
