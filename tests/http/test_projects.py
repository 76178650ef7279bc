"""Objects of one project are invisible to every other project: on every route, in every list, as every id inside a
body.

A new route is tested without a change here. If it needs a body to reach the check of its ids, or has a new kind of id,
add it to the tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio

from service.cli import admin
from service.database import Pool
from service.http.route import FormBody, Route
from service.http.routes import ROUTES
from tests import clock
from tests.client import V1, Client
from tests.http.files import BOUNDARY, form
from tests.http.keys import as_key, writer
from tests.http.stores import settled
from tests.scripted import ScriptedServer, calls

pytestmark = pytest.mark.asyncio(loop_scope="module")
WEATHER = {"type": "function", "function": {"name": "weather"}}
IDS = {
    "assistant_id",
    "thread_id",
    "message_id",
    "run_id",
    "step_id",
    "file_id",
    "upload_id",
    "vector_store_id",
    "batch_id",
    "webhook_endpoint_id",
}
# Bodies that are valid except for their ids; {…} stands for an id of the other project. All other bodies are {}.
BODIES: dict[str, dict[str, Any]] = {
    "POST /v1/assistants/{assistant_id}/restore": {"version": 1},
    "POST /v1/assistants/{assistant_id}/files": {"file_id": "{file_id}"},
    "POST /v1/threads/{thread_id}/messages": {"role": "user", "content": "Hi"},
    "POST /v1/threads/{thread_id}/runs": {"assistant_id": "{assistant_id}"},
    "POST /v1/threads/{thread_id}/runs/{run_id}/reviews": {"rating": "good"},
    "POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs": {
        "tool_outputs": [{"tool_call_id": "call_1", "output": "x"}]
    },
    "POST /v1/uploads/{upload_id}/complete": {"part_ids": ["{part_id}"]},
    "POST /v1/vector_stores/{vector_store_id}/search": {"query": "text"},
    "POST /v1/vector_stores/{vector_store_id}/files": {"file_id": "{file_id}"},
    "POST /v1/vector_stores/{vector_store_id}/files/{file_id}": {"attributes": {}},
    "POST /v1/vector_stores/{vector_store_id}/file_batches": {"file_ids": ["{file_id}"]},
}
ADDRESSED = [route for route in ROUTES if route.versions and route.parameters]
OPEN = [route for route in ROUTES if not route.parameters]


@dataclass(frozen=True, slots=True)
class Both:
    """Two projects on one server, each with one object of every kind. `ids` holds them by kind."""

    ours: Client
    theirs: Client
    our_ids: dict[str, str]
    their_ids: dict[str, str]


async def everything(client: Client, model: ScriptedServer) -> dict[str, str]:
    """Creates one object of every kind. The run waits for tool outputs."""
    file_id = (await _send(client, "/files", form()))["id"]
    code = {"tools": [{"type": "code_interpreter"}], "tool_resources": {"code_interpreter": {"file_ids": [file_id]}}}
    assistant = await client.post("/assistants", {"model": "gpt-4o", **code})
    worker = await client.post("/assistants", {"model": "gpt-4o", "tools": [WEATHER]})
    attached = {"attachments": [{"file_id": file_id, "tools": [{"type": "code_interpreter"}]}]}
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": "Hi", **attached}]})
    path = f"/threads/{thread['id']}"
    [message] = (await client.get(path + "/messages"))["data"]
    model.script(calls(("weather", {}), ids=["call_1"]))
    run = await client.settled(await client.post(path + "/runs", {"assistant_id": worker["id"]}))
    [step] = (await client.get(f"{path}/runs/{run['id']}/steps"))["data"]
    about = {"filename": "a.txt", "purpose": "assistants", "bytes": 6, "mime_type": "text/plain"}
    upload = await client.post("/uploads", about)
    endpoint = await client.post("/webhook_endpoints", {"url": "https://hooks.invalid/"})
    part = await _send(client, f"/uploads/{upload['id']}/parts", form(fields=(), name="data"))
    store = await client.post("/vector_stores", {})
    batch = await client.post(f"/vector_stores/{store['id']}/file_batches", {"file_ids": [file_id]})
    await settled(client, store["id"])
    return {
        "vector_store_id": store["id"],
        "batch_id": batch["id"],
        "assistant_id": assistant["id"],
        "thread_id": thread["id"],
        "message_id": message["id"],
        "run_id": run["id"],
        "step_id": step["id"],
        "file_id": file_id,
        "upload_id": upload["id"],
        "part_id": part["id"],
        "webhook_endpoint_id": endpoint["id"],
    }


async def _send(client: Client, path: str, body: bytes) -> Any:
    status, raw = await raw_answer(client, "POST", f"/v1{path}", body, multipart=True)
    assert status == 200, raw
    return orjson.loads(raw)


async def raw_answer(
    client: Client, method: str, path: str, body: bytes | None, *, multipart: bool = False, beta: str | None = None
) -> tuple[int, str]:
    kind = f"multipart/form-data; boundary={BOUNDARY}" if multipart else "application/json"
    headers = {**client.headers, "Content-Type": kind, **({"OpenAI-Beta": beta} if beta else {})}
    async with client.session.request(
        method, client.base_url.removesuffix("/v1") + path, data=body, headers=headers
    ) as response:
        return response.status, await response.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(shared_client: Client, shared_pool: Pool, shared_model: ScriptedServer) -> AsyncIterator[Both]:
    """One for all tests: what they ask for is refused."""
    await admin.create_project(writer(shared_pool), "Theirs", ids=clock.IDS)
    async with await as_key(shared_client, shared_pool, "Theirs") as theirs:
        our_ids, their_ids = await everything(shared_client, shared_model), await everything(theirs, shared_model)
        yield Both(shared_client, theirs, our_ids, their_ids)


async def asked(client: Client, route: Route, path_ids: dict[str, str], ids: dict[str, str]) -> tuple[int, str]:
    """Sends a request to the route with those ids in its path and its body, and returns the answer."""
    is_form = isinstance(route.body, FormBody)
    body = form(fields=(), name="data") if is_form else None
    if body is None and route.method == "POST":
        body = orjson.dumps(filled(BODIES.get(route.name, {}), ids))
    beta = None if "v2" in route.versions else V1
    return await raw_answer(client, route.method, route.path.format(**path_ids), body, multipart=is_form, beta=beta)


def filled(body: Any, ids: dict[str, str]) -> Any:
    text = orjson.dumps(body).decode()
    for name, id in ids.items():
        text = text.replace(f"{{{name}}}", id)
    return orjson.loads(text)


async def log_of(pool: Pool, project: str) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM events WHERE project_id = $1", project))


@pytest.mark.slow
async def test_ids_of_another_project_are_not_found(both: Both, shared_pool: Pool) -> None:
    """Ids in the path: all of them belong to the other project, or only the last one."""
    before = await log_of(shared_pool, "proj_default")
    for route in ADDRESSED:
        names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        assert set(names) <= IDS, f"say in this file what {names} are"
        last_only = {**both.their_ids, names[-1]: both.our_ids[names[-1]]}
        for ids in (both.our_ids, last_only):
            status, text = await asked(both.theirs, route, ids, both.their_ids)
            assert status == 404, f"{route.name}: {status} {text}"
            assert orjson.loads(text)["error"]["type"] == "invalid_request_error"
        if route.method == "GET" and not route.path.endswith("/stream"):  # which has no end
            status, text = await asked(both.ours, route, both.our_ids, both.our_ids)
            assert status == 200, f"{route.name}, for its own project: {text}"
    assert await log_of(shared_pool, "proj_default") == before, "nothing of it was touched"


async def test_lists_hold_only_ones_own(both: Both) -> None:
    for route in OPEN:
        if route.method == "GET":
            _, text = await raw_answer(both.theirs, "GET", route.path, None)
            assert not [id for id in both.our_ids.values() if id in text], route.name
    for path in ("/assistants", "/files"):
        assert {item["id"] for item in (await both.theirs.get(path))["data"]} & set(both.our_ids.values()) == set()
        assert both.their_ids[f"{path[1:-1]}_id"] in {item["id"] for item in (await both.theirs.get(path))["data"]}


THREAD = "/threads/{their_thread_id}"
FILE = {"code_interpreter": {"file_ids": ["{file_id}"]}}
STORE = {"file_search": {"vector_store_ids": ["{vector_store_id}"]}}
MADE = {"file_search": {"vector_stores": [{"file_ids": ["{file_id}"]}]}}
SEARCHED = {
    "role": "user",
    "content": "Hi",
    "attachments": [{"file_id": "{file_id}", "tools": [{"type": "file_search"}]}],
}
ATTACHED = {
    "role": "user",
    "content": "Hi",
    "attachments": [{"file_id": "{file_id}", "tools": [{"type": "code_interpreter"}]}],
}
SEEN = {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "{file_id}"}}]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/assistants", {"model": "gpt-4o", "tool_resources": FILE}),
        ("/assistants/{their_assistant_id}", {"tool_resources": FILE}),
        ("/threads", {"tool_resources": FILE}),
        ("/threads", {"messages": [ATTACHED]}),
        ("/threads", {"messages": [SEEN]}),
        (THREAD, {"tool_resources": FILE}),
        ("/threads/{their_other_thread_id}/messages", ATTACHED),
        ("/threads/{their_other_thread_id}/runs", {"assistant_id": "{assistant_id}"}),
        ("/threads/{their_other_thread_id}/runs", {"assistant_id": "{assistant_id}", "stream": True}),
        (
            "/threads/{their_other_thread_id}/runs",
            {"assistant_id": "{their_assistant_id}", "additional_messages": [ATTACHED]},
        ),
        ("/threads/{thread_id}/runs", {"assistant_id": "{their_assistant_id}", "stream": True}),
        ("/threads/runs", {"assistant_id": "{assistant_id}"}),
        ("/threads/runs", {"assistant_id": "{assistant_id}", "stream": True}),
        ("/threads/runs", {"assistant_id": "{their_assistant_id}", "thread": {"messages": [ATTACHED]}}),
        ("/threads/runs", {"assistant_id": "{their_assistant_id}", "tool_resources": FILE}),
        ("/assistants", {"model": "gpt-4o", "tool_resources": STORE}),
        ("/assistants", {"model": "gpt-4o", "tool_resources": MADE}),
        ("/assistants/{their_assistant_id}", {"tool_resources": STORE}),
        ("/threads", {"tool_resources": STORE}),
        ("/threads", {"tool_resources": MADE}),
        ("/threads", {"messages": [SEARCHED]}),
        (THREAD, {"tool_resources": STORE}),
        ("/threads/{their_other_thread_id}/messages", SEARCHED),
        ("/threads/runs", {"assistant_id": "{their_assistant_id}", "tool_resources": STORE}),
        ("/vector_stores", {"file_ids": ["{file_id}"]}),
        ("/vector_stores/{their_vector_store_id}/files", {"file_id": "{file_id}"}),
        ("/vector_stores/{their_vector_store_id}/file_batches", {"file_ids": ["{file_id}"]}),
        ("/vector_stores/{their_vector_store_id}/file_batches", {"files": [{"file_id": "{file_id}"}]}),
        ("/vector_stores?after={vector_store_id}", None),
        ("/vector_stores/{their_vector_store_id}/files?after={file_id}", None),
        ("/assistants?after={assistant_id}", None),
        ("/files?after={file_id}", None),
        (THREAD + "/messages?after={message_id}", None),
        (THREAD + "/runs?before={run_id}", None),
        (THREAD + "/runs/{their_run_id}/steps?after={step_id}", None),
    ],
)
async def test_ids_in_bodies_and_queries(both: Both, path: str, body: dict[str, Any] | None) -> None:
    free = await both.theirs.post("/threads", {"messages": [{"role": "user", "content": "Hi"}]})
    ids = {**both.our_ids, **{f"their_{name}": id for name, id in both.their_ids.items()}}
    ids["their_other_thread_id"] = free["id"]
    sent = None if body is None else orjson.dumps(filled(body, ids))
    status, text = await raw_answer(both.theirs, "GET" if sent is None else "POST", "/v1" + path.format(**ids), sent)
    assert status == 404, text
    free_messages = (await both.theirs.get(f"/threads/{free['id']}/messages"))["data"]
    assert len(free_messages) == 1, "nothing was stored"


async def test_a_part_of_another_projects_upload_is_no_part(both: Both) -> None:
    path = f"/uploads/{both.their_ids['upload_id']}/complete"
    answer = await both.theirs.call("POST", path, {"part_ids": [both.our_ids["part_id"]]})
    assert answer.status in (400, 404)
