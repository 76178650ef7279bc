"""The server's own OpenAPI document: valid, complete, and equal to the server's answers."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.http.openapi.infer import Free, schema_of
from service.http.route import SignedToken
from service.http.routes import ROUTES
from tests.client import KEY, V1, V2, Client
from tests.http.helpers import assistant_with, thread_with
from tests.http.stores import file_named, settled
from tests.scripted import ScriptedServer, calls, cuts_off, errors, says
from tests.wire.own_document import close_objects

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
async def document(client: Client) -> Any:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/openapi.json") as response:
        assert response.status == 200, "it needs no key"
        found = await response.json()
    assert isinstance(found, dict)
    return found


def check(document: Any, operation: str, body: Any, value: Any) -> None:
    """Asserts that `value` matches the document's schema of this operation's answer, or of its request if `body` is
    set.
    """
    method, path = operation.split()
    told = document["paths"][path][method.lower()]
    content = told["requestBody"]["content"] if body else told["responses"]["200"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    problems = [error.message for error in Draft202012Validator(schema).iter_errors(value)]
    assert not problems, (operation, problems)


@pytest.mark.slow
async def test_it_is_valid_and_tells_every_route(document: Any) -> None:
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    told = [told for methods in document["paths"].values() for told in methods.values()]
    assert len({one["operationId"] for one in told}) == len(told)
    documented = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert documented == {route.name for route in ROUTES}
    references = set(re.findall(r"'#/components/schemas/(\w+)'", str(document)))
    assert references <= document["components"]["schemas"].keys()


def named(operation: Any, place: str) -> dict[str, Any]:
    """Returns the schemas of the operation's parameters in the header or the query, by name."""
    return {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == place}


async def test_it_tells_what_this_server_adds(document: Any) -> None:
    told = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for name, operation in told.items():
        keyed = named(operation, "header").get("Idempotency-Key")
        assert keyed == ({"type": "string", "minLength": 1, "maxLength": 255} if name.startswith("POST") else None)
        assert (
            ("429" in operation["responses"]) == ("401" in operation["responses"]) == (operation.get("security") != [])
        )
        assert operation.get("security") == [] or ("404" in operation["responses"]) == ("{" in name), name
    with_tokens = {name for name, one in told.items() if {"token": []} in one.get("security", ())}
    assert with_tokens == {route.name for route in ROUTES if isinstance(route.access, SignedToken)}
    stream = told["GET /v1/threads/{thread_id}/stream"]
    assert "Last-Event-ID" in named(stream, "header")
    needed = {
        name
        for name, one in told.items()
        if any(each["name"] == "OpenAI-Beta" and each["required"] for each in one["parameters"])
    }
    assert {"POST /v1/threads", "GET /v1/assistants"} <= needed
    assert not needed & {"GET /v1/threads/{thread_id}/stream", "POST /v1/vector_stores", "GET /v1/files"}


async def test_requests_are_what_the_models_take(document: Any) -> None:
    check(document, "POST /v1/assistants", True, {"model": "gpt-4o", "tools": [WEATHER], "metadata": {"k": "v"}})
    check(document, "POST /v1/threads", True, {"messages": [{"role": "user", "content": "Hi"}]})
    for body in ({"model": 7}, {"model": "gpt-4o", "name": "x" * 257}, {"model": "gpt-4o", "unknown": 1}):
        with pytest.raises(AssertionError):
            check(document, "POST /v1/assistants", True, body)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_answers_are_what_it_says(document: Any, client: Client, model: ScriptedServer, beta: str) -> None:
    document = close_objects(document)
    client.headers["OpenAI-Beta"] = beta
    model.script(calls(("weather", {})), says("Sunny"), cuts_off("To be con"), errors(400))
    assistant = await assistant_with(client, tools=[WEATHER], metadata={"k": "v"}, temperature=0.5)
    check(document, "POST /v1/assistants", False, assistant)
    check(document, "GET /v1/assistants", False, await client.get("/assistants"))
    thread = await thread_with(client, "Hi")
    check(document, "POST /v1/threads", False, thread)
    at, runs = f"/threads/{thread['id']}", "/v1/threads/{thread_id}/runs"
    for _ in range(3):
        run = await client.post(f"{at}/runs", {"assistant_id": assistant["id"]})
        check(document, f"POST {runs}", False, run)
        run = await client.settled(run)
        check(document, f"GET {runs}/{{run_id}}", False, run)
        if run["status"] == "requires_action":
            [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
            check(document, f"POST {runs}/{{run_id}}/submit_tool_outputs", True, outputs)
            run = await client.settled(await client.post(f"{at}/runs/{run['id']}/submit_tool_outputs", outputs))
        steps = await client.get(f"{at}/runs/{run['id']}/steps")
        check(document, f"GET {runs}/{{run_id}}/steps", False, steps)
    check(document, f"GET {runs}", False, await client.get(f"{at}/runs"))
    messages = await client.get(f"{at}/messages")
    check(document, "GET /v1/threads/{thread_id}/messages", False, messages)
    check(document, "DELETE /v1/threads/{thread_id}", False, await client.delete(at))
    error = (await client.call("GET", at)).body
    schema = {**document["components"]["schemas"]["Error"], "components": document["components"]}
    assert Draft202012Validator(schema).is_valid(error)


async def test_answers_about_vector_stores(document: Any, client: Client) -> None:
    document, one = close_objects(document), "/v1/vector_stores/{vector_store_id}"
    ids = [await file_named(client, name) for name in ("a.txt", "bad.txt")]
    asked: dict[str, Any] = {"file_ids": ids, "expires_after": {"anchor": "last_active_at", "days": 1}}
    check(document, "POST /v1/vector_stores", True, asked)
    made = await client.post("/vector_stores", asked)
    check(document, "POST /v1/vector_stores", False, made)
    at = f"/vector_stores/{made['id']}"
    check(document, f"GET {one}", False, await settled(client, made["id"]))
    check(document, "GET /v1/vector_stores", False, await client.get("/vector_stores"))
    check(document, f"GET {one}/files", False, await client.get(f"{at}/files"))
    batch: dict[str, Any] = {"files": [{"file_id": ids[0], "attributes": {"a": 1, "b": "x", "c": True, "d": 1.5}}]}
    check(document, f"POST {one}/file_batches", True, batch)
    check(document, f"POST {one}/file_batches", False, await client.post(f"{at}/file_batches", batch))
    await settled(client, made["id"])
    near = {
        "type": "or",
        "filters": [{"type": "lt", "key": "a", "value": 2}, {"type": "in", "key": "b", "value": ["x"]}],
    }
    search = {"query": ["some"], "filters": near, "ranking_options": {"ranker": "none"}}
    check(document, f"POST {one}/search", True, search)
    found = await client.post(f"{at}/search", search)
    assert found["data"]
    check(document, f"POST {one}/search", False, found)
    check(document, f"GET {one}/files/{{file_id}}/content", False, await client.get(f"{at}/files/{ids[0]}/content"))
    check(document, f"DELETE {one}", False, await client.delete(at))


def test_schemas_admit_their_samples_and_no_more() -> None:
    samples = [
        {"object": "a", "n": 1, "maybe": None, "free": Free(k="v"), "items": []},
        {"object": "b", "n": 1.5, "maybe": {"x": 1}, "free": Free(), "items": ["s"], "more": True},
    ]
    schema = schema_of(samples)
    valid = Draft202012Validator(schema).is_valid
    assert all(valid(sample) for sample in samples)
    assert schema["required"] == ["object", "n", "maybe", "free", "items"]
    one = samples[0]
    for wrong in ({"object": "c"}, {"n": "1"}, {"maybe": {"x": "1"}}, {"free": {"k": 1}}, {"items": [1]}):
        assert not valid({**one, **wrong}), wrong


async def test_the_page_asks_nobody_else(client: Client) -> None:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/docs") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"(?m)^// .*$", "", page))
    assert "innerHTML" not in page
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


@pytest.mark.browser
async def test_the_page_shows_every_operation(chromium: str, client: Client, document: Any, tmp_path: Path) -> None:
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    quiet = ["disable-component-update", "disable-sync", f"user-data-dir={tmp_path}", "virtual-time-budget=5000"]
    url = client.base_url.removesuffix("/v1") + "/docs"
    command = [chromium, *(f"--{flag}" for flag in (*flags, *quiet)), "--dump-dom", url]
    browser = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    shown, _ = await asyncio.wait_for(browser.communicate(), 60)
    sections = set(re.findall(r'<section id="(\w+)"', shown.decode()))
    assert sections == {told["operationId"] for methods in document["paths"].values() for told in methods.values()}
    assert KEY not in shown.decode()


async def test_quotes_of_citations_and_their_header(document: Any) -> None:
    schemas = document["components"]["schemas"]
    for name in ("Message", "MessageV1"):
        [text] = [schemas[name]["properties"]["content"]["items"]["properties"]["text"]]
        citation = text["properties"]["annotations"]["items"]["properties"]["file_citation"]
        assert citation["properties"] == {"file_id": {"type": ["string"]}, "quote": {"type": ["string"]}}, name
        assert citation["required"] == ["file_id"], "v2 hides the quote unless the header asks for it"
    having = {
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if any(each["name"] == "Everthread-Quotes" for each in operation["parameters"])
    }
    message = "/v1/threads/{thread_id}/messages"
    assert {f"get {message}", f"post {message}", "post /v1/threads/{thread_id}/runs"} <= having
    assert not [each for each in having if "assistants" in each or "files" in each]


async def test_a_stream_that_has_nothing_to_send_is_in_the_document(document: Any) -> None:
    """`tests/http/test_thread_stream.py` sees the 204."""
    found = {
        path
        for path, operations in document["paths"].items()
        for one in operations.values()
        if "204" in one["responses"]
    }
    assert found == {"/v1/threads/{thread_id}/runs/{run_id}/stream"}
