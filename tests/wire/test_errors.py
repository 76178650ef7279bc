"""The errors of the API in tables of requests and answers (docs/behaviour.md, "Errors")."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from service.database import Pool
from tests.client import KEY, V1, V2, Client
from tests.http.files import BOUNDARY, form
from tests.scripted import ScriptedServer
from tests.wire.sample_objects import BadRequest, find_difference, find_failures, make_world, send_request

INVALID_CHANGES: tuple[Any, ...] = (None, {}, {"metadata": {"modified": True}}, {"surprise": 1}, [], b"{")

RUN = "/threads/{done}/runs/{done_run}"
BETA = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the header"
    " 'OpenAI-Beta: assistants=v2'."
)
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
OUTPUTS = {"tool_outputs": [{"tool_call_id": "{call}", "output": "sun"}]}


def error(noun: str, id: str) -> str:
    return f"No {noun} found with id '{id}'."


# Requests that the state of an object forbids.
STATE = [
    BadRequest(
        "POST /threads/{busy}/messages",
        {"role": "user", "content": "More"},
        message="Can't add messages to {busy} while a run {busy_run} is active.",
    ),
    BadRequest(
        "POST /threads/{waiting}/messages",
        {"role": "assistant", "content": "More"},
        message="Can't add messages to {waiting} while a run {waiting_run} is active.",
    ),
    BadRequest(
        "POST /threads/{busy}/runs",
        {"assistant_id": "{assistant}"},
        message="Thread {busy} already has an active run {busy_run}.",
    ),
    BadRequest(
        "POST /threads/{waiting}/runs",
        {"assistant_id": "{assistant}", "stream": True, "additional_messages": [{"role": "user", "content": "More"}]},
        message="Thread {waiting} already has an active run {waiting_run}.",
    ),
    BadRequest(
        "POST /threads/{busy}/runs/{busy_run}/submit_tool_outputs",
        OUTPUTS,
        message='Runs in status "in_progress" do not accept tool outputs.',
    ),
    BadRequest(
        f"POST {RUN}/submit_tool_outputs",
        {**OUTPUTS, "stream": True},
        message='Runs in status "completed" do not accept tool outputs.',
    ),
    BadRequest(
        "POST /threads/{waiting}/runs/{waiting_run}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": "call_wrong", "output": "sun"}]},
        message="Expected tool outputs for call_ids ['{call}'], got ['call_wrong']",
    ),
    BadRequest(
        "POST /threads/{waiting}/runs/{waiting_run}/submit_tool_outputs",
        {"tool_outputs": []},
        message="Expected tool outputs for call_ids ['{call}'], got []",
    ),
    BadRequest(
        "POST /threads/{empty}/runs",
        {"assistant_id": "{assistant}"},
        message="Run creation requires a Thread with a user message or an assistant with instructions.",
        code="invalid_thread",
    ),
    BadRequest(
        "POST /threads/runs",
        {"assistant_id": "{assistant}", "thread": {"messages": [{"role": "assistant", "content": "I begin"}]}},
        message="Run creation requires a Thread with a user message or an assistant with instructions.",
        code="invalid_thread",
    ),
    BadRequest(
        "POST /threads/{busy}/runs/{busy_run}",
        {"metadata": {"a": "b"}},
        message="Cannot update run with status 'in_progress'.",
    ),
    *(
        BadRequest("POST /threads/{busy}/runs/{busy_run}", body, message="Cannot update run with status 'in_progress'.")
        for body in INVALID_CHANGES
    ),
    BadRequest(f"POST {RUN}/cancel", message="Cannot cancel run with status 'completed'."),
    BadRequest(
        "POST /threads/{cancelled}/runs/{cancelled_run}/cancel",
        message="Cannot cancel run with status 'cancelled'.",
    ),
    BadRequest(
        f"POST {RUN}",
        {"metadata": {"modified": True}},
        message="Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
        param="metadata.modified",
        code="invalid_type",
    ),
]

# Objects that never existed, were deleted, or belong to another parent.
ABSENT = [
    *(
        BadRequest(request, body, 404, error("assistant", id))
        for id in ("asst_no", "{gone_assistant}", "x y", "{done}")
        for request, body in (
            (f"GET /assistants/{id.replace(' ', '%20')}", None),
            (f"POST /assistants/{id.replace(' ', '%20')}", {"name": "n"}),
            (f"DELETE /assistants/{id.replace(' ', '%20')}", None),
            ("POST /threads/{done}/runs", {"assistant_id": id}),
            ("POST /threads/runs", {"assistant_id": id, "stream": True}),
        )
    ),
    *(
        BadRequest(request, body, 404, error("thread", id))
        for id in ("thread_no", "{gone_thread}", "{assistant}")
        for request, body in (
            (f"GET /threads/{id}", None),
            (f"POST /threads/{id}", {"metadata": {}}),
            (f"DELETE /threads/{id}", None),
            (f"GET /threads/{id}/messages", None),
            (f"POST /threads/{id}/messages", {"role": "user", "content": "Hi"}),
            (f"GET /threads/{id}/messages/{{message}}", None),
            (f"POST /threads/{id}/messages/{{message}}", {"metadata": {}}),
            (f"DELETE /threads/{id}/messages/{{message}}", None),
            (f"GET /threads/{id}/runs", None),
            (f"POST /threads/{id}/runs", {"assistant_id": "{assistant}"}),
            (f"POST /threads/{id}/runs", {"assistant_id": "{assistant}", "stream": True}),
            (f"GET /threads/{id}/runs/{{done_run}}", None),
            (f"POST /threads/{id}/runs/{{done_run}}", {"metadata": {}}),
            (f"POST /threads/{id}/runs/{{done_run}}/cancel", None),
            (f"POST /threads/{id}/runs/{{done_run}}/submit_tool_outputs", OUTPUTS),
            (f"GET /threads/{id}/runs/{{done_run}}/steps", None),
            (f"GET /threads/{id}/runs/{{done_run}}/steps/{{step}}", None),
        )
    ),
    *(
        BadRequest(f"{method} /threads/{thread}/messages/{id}", body, 404, error("message", id))
        for thread, id in (("{done}", "msg_no"), ("{other}", "{gone_message}"), ("{other}", "{message}"))
        for method, body in (("GET", None), ("POST", {"metadata": {}}), ("DELETE", None))
    ),
    *(
        BadRequest(f"{method} /threads/{thread}/runs/{id}{rest}", body, 404, error("run", id))
        for thread, id in (("{done}", "run_no"), ("{other}", "{done_run}"))
        for method, rest, body in (
            ("GET", "", None),
            ("POST", "", {"metadata": {}}),
            ("POST", "/cancel", None),
            ("POST", "/submit_tool_outputs", OUTPUTS),
            ("GET", "/steps", None),
            ("GET", "/steps/{step}", None),
        )
    ),
    *(
        BadRequest(request, status=404, message=f"No such File object: {id}", param="id", beta=beta)
        for id in ("file-no", "{assistant}")
        for request in (f"GET /files/{id}", f"DELETE /files/{id}", f"GET /files/{id}/content")
        for beta in (V1, V2)
    ),
    BadRequest(f"GET {RUN}/steps/step_no", status=404, message=error("run step", "step_no")),
    BadRequest(
        "GET /threads/{waiting}/runs/{waiting_run}/steps/{step}", status=404, message=error("run step", "{step}")
    ),
    *(
        BadRequest(request, body, 404, "No such File object: file-no", param="id", beta=beta)
        for request, body, beta in (
            ("POST /assistants", {"model": "m", "file_ids": ["file-no"]}, V1),
            ("POST /assistants/{assistant}", {"file_ids": ["file-no"]}, V1),
            ("POST /threads/{done}/messages", {"role": "user", "content": "Hi", "file_ids": ["file-no"]}, V1),
            (
                "POST /assistants",
                {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": ["file-no"]}}},
                None,
            ),
            ("POST /threads", {"tool_resources": {"code_interpreter": {"file_ids": ["file-no"]}}}, None),
            (
                "POST /threads/{done}/messages",
                {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "file-no"}}]},
                None,
            ),
            (
                "POST /threads/{done}/messages",
                {
                    "role": "user",
                    "content": "Hi",
                    "attachments": [{"file_id": "file-no", "tools": [{"type": "code_interpreter"}]}],
                },
                None,
            ),
        )
        for beta in (beta or "assistants=v2",)
    ),
    BadRequest(
        "POST /threads",
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_no"]}}},
        404,
        error("vector store", "vs_no"),
    ),
    BadRequest("GET /nothing", status=404, message="Invalid URL (GET /v1/nothing)", code="unknown_url"),
    BadRequest("POST /threads/{done}/nothing", status=404, code="unknown_url"),
    BadRequest("PUT /threads", status=405, message="Not allowed to PUT on /v1/threads."),
    BadRequest("DELETE /threads/{done}/runs/{done_run}", status=405),
]

PURPOSES = ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
_UPLOAD = {"filename": "a.txt", "bytes": 4, "mime_type": "text/plain"}
# Purposes of files, in forms and in the JSON of uploads.
FILES = [
    bad
    for purpose in ("world_domination", "assistants_output", "")
    for said in (f"'{purpose}' is not one of {PURPOSES} - 'purpose'",)
    for bad in (
        *(
            BadRequest(
                "POST /files",
                form(fields=[("purpose", purpose)]),
                message=said,
                param="purpose",
                headers=FORM,
                beta=beta,
            )
            for beta in (V1, V2)
        ),
        BadRequest("POST /uploads", {**_UPLOAD, "purpose": purpose}, message=said, param="purpose"),
    )
]

HEADERS = [
    BadRequest("GET /assistants", headers={"OpenAI-Beta": ""}, message=BETA, code="invalid_beta"),
    BadRequest("GET /assistants", beta="assistants=v3", message=BETA, code="invalid_beta"),
    BadRequest("POST /threads", beta="realtime=v1", message=BETA, code="invalid_beta"),
    BadRequest("GET /assistants", status=401, headers={"Authorization": ""}),
    BadRequest("GET /assistants", status=401, headers={"Authorization": "Basic c2s6"}),
    BadRequest("GET /assistants", status=401, headers={"Authorization": "Bearer "}),
    BadRequest(
        "GET /assistants",
        status=401,
        headers={"Authorization": "Bearer sk-wrong-0123456789"},
        message="Incorrect API key provided: sk-********6789.",
        code="invalid_api_key",
    ),
    BadRequest("GET /assistants", status=401, headers={"Authorization": "Bearer schlüssel"}, code="invalid_api_key"),
]


async def test_what_the_state_forbids(client: Client, model: ScriptedServer, pool: Pool) -> None:
    ids = await make_world(client, model)
    assert await find_failures(client, pool, STATE, ids) == []


async def test_what_files_are_not_for(client: Client, pool: Pool) -> None:
    assert await find_failures(client, pool, FILES, {}) == []


@pytest.mark.slow
async def test_what_is_not_there(client: Client, model: ScriptedServer, pool: Pool) -> None:
    ids = await make_world(client, model)
    assert await find_failures(client, pool, ABSENT, ids) == []


async def test_keys_and_versions(client: Client, pool: Pool) -> None:
    assert await find_failures(client, pool, HEADERS, {}) == []
    assert (await client.call("GET", "/assistants", headers={"OpenAI-Beta": "other=v1, assistants=v2"})).status == 200
    assert (await client.call("GET", "/assistants", headers={"Authorization": f"bearer  {KEY}"})).status == 200


async def test_no_header_at_all(client: Client) -> None:
    del client.headers["OpenAI-Beta"]
    bad = BadRequest("GET /assistants", message=BETA, code="invalid_beta")
    answer = await client.call("GET", "/assistants")
    assert find_difference(answer, bad, {}) is None


async def test_a_lenient_server_takes_a_missing_header_for_v2(
    start_server: Callable[..., AbstractAsyncContextManager[Client]],
) -> None:
    async with start_server(beta="lenient") as client:
        wrong = BadRequest("GET /assistants", beta="assistants=v3", message=BETA, code="invalid_beta")
        assert find_difference(await send_request(client, wrong, {}), wrong, {}) is None
        del client.headers["OpenAI-Beta"]
        made = await client.post("/assistants", {"model": "gpt-4o"})
        assert "tool_resources" in made
