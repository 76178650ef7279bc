"""Requests that are passed through to the model server: names and keys change, bytes do not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import ClientPayloadError

from service.http import passthrough
from tests.client import KEY, Client
from tests.conftest import StartServer
from tests.scripted import ScriptedServer, breaks_after, drops, errors, says

ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "seed": 7}
OURS = {"Authorization": f"Bearer {KEY}"}
CHAT = "/chat/completions"


async def posted(client: Client, body: Any, path: str = CHAT) -> tuple[int, Any, Any]:
    async with client.session.post(client.base_url + path, json=body, headers=OURS) as response:
        return response.status, orjson.loads(await response.read()), response.headers


async def test_a_call_goes_through_without_a_beta_header(client: Client, model: ScriptedServer) -> None:
    reply = says("Hello")
    model.script(reply)
    status, answer, headers = await posted(client, ASKED)
    assert (status, answer) == (200, dict(reply.message))
    assert await model.next_request() == ASKED
    assert model.headers[0]["Authorization"] == "Bearer model-key"
    assert headers["x-request-id"].startswith("req_")
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("key", [b'"model"', b'"mod\\u0065l"'])
async def test_of_two_models_the_one_that_was_looked_up_is_asked(
    client: Client, model: ScriptedServer, key: bytes
) -> None:
    """Some servers read the first of two values of a name, while this server reads the last."""
    sent = b'{%b: "secret", "messages": [], "model": "gpt-4o"}' % key
    headers = {**OURS, "Content-Type": "application/json"}
    async with client.session.post(client.base_url + CHAT, data=sent, headers=headers) as response:
        assert response.status == 200
    assert list(model.bodies) == [b'{%b: "gpt-4o", "messages": [], "model": "gpt-4o"}' % key]


@pytest.mark.parametrize("more", [b'"seed": 99999999999999999999', b'"a": ' + b"[" * 300 + b"]" * 300])
async def test_everything_but_the_model_is_passed_on_as_it_came(
    client: Client, model: ScriptedServer, more: bytes
) -> None:
    """The body names two models, so its bytes change. The scripted server reads no JSON of that depth."""
    sent = b'{"model": "secret", "messages": [], %b, "model": "gpt-4o"}' % more
    headers = {**OURS, "Content-Type": "application/json"}
    async with client.session.post(client.base_url + CHAT, data=sent, headers=headers) as response:
        await response.read()
    assert list(model.bodies) == [sent.replace(b"secret", b"gpt-4o")]


@pytest.mark.parametrize("path", ["/completions", "/embeddings"])
async def test_the_other_paths(client: Client, model: ScriptedServer, path: str) -> None:
    body = {"model": "text-embedding-3-small", "input": "words"}
    status, answer, _ = await posted(client, body, path)
    assert (status, answer) == (200, dict(model.default.message))
    assert await model.next_request() == body


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b'{"messages": []}', b'{"model":"fast","messages": []}'),
        (b" { } ", b' {"model":"fast" } '),
        (b'{"messages": [], "model": "other"}', b'{"messages": [], "model": "fast"}'),
    ],
)
async def test_a_deployment_is_the_model_of_the_body(
    client: Client, model: ScriptedServer, sent: bytes, received: bytes
) -> None:
    url = client.base_url.removesuffix("/v1") + "/openai/deployments/fast/chat/completions"
    async with client.session.post(url, data=sent, headers=OURS) as response:
        assert response.status == 200
    assert list(model.bodies) == [received]


async def test_an_image_is_passed_on_without_a_tree(client: Client, model: ScriptedServer) -> None:
    """Only the brackets, the quotation marks and the fields of a large body are read."""
    sent = b'{"messages": [{"content": "' + b"A" * 5_000_000 + b'"}, 99999999999999999999], "model": "gpt-4o"}'
    async with client.session.post(client.base_url + CHAT, data=sent, headers=OURS) as response:
        await response.read()
    assert list(model.bodies) == [sent]
    for broken in (sent[:-1], b"[" + sent + b"]", sent.replace(b'"gpt-4o"', b"7")):
        async with client.session.post(client.base_url + CHAT, data=broken, headers=OURS) as response:
            assert response.status == 400
    assert list(model.bodies) == [sent]


async def test_a_stream_is_relayed_as_it_comes(client: Client, model: ScriptedServer) -> None:
    reply = says("one two", pieces=["one", " two"])
    model.script(reply.waits("second", before=2))
    asked = {**ASKED, "stream": True}
    async with client.session.post(client.base_url + CHAT, json=asked, headers=OURS) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        seen = b""
        while b"one" not in seen:
            seen += await response.content.readany()
        assert b"two" not in seen
        model.open_gate("second")
        seen += await response.read()
    assert seen == b"".join(frame for frame in reply.frames if isinstance(frame, bytes))


async def test_names_and_keys_are_the_catalogues(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedServer() as gpu:
        file = tmp_path / "models.toml"
        table = ["[[models]]", 'match = ["fast", "f-*"]', f'base_url = "{gpu.base_url}"', 'api_key = "gpu-secret"']
        file.write_text("\n".join([*table, 'name = "llama"']))
        monkeypatch.setenv("EVERTHREAD_MODELS", str(file))
        async with start_server() as client:
            status, *_ = await posted(client, {**ASKED, "model": "f-1"})
            assert status == 200
            assert await gpu.next_request() == {**ASKED, "model": "llama"}
            assert gpu.headers[0]["Authorization"] == "Bearer gpu-secret"
            listed = await client.call("GET", "/models", headers={"OpenAI-Beta": ""})
            assert [entry["id"] for entry in listed.body["data"]] == ["scripted", "fast"]
            assert (await client.get("/models/fast"))["id"] == "fast"
            assert (await client.get("/models/scripted"))["object"] == "model"
            unknown = await client.call("GET", "/models/none/such")
            assert unknown.error == (404, "The model 'none/such' does not exist", "model", "model_not_found")
            for name in ("none/such", "x", "fast"):
                deleted = await client.call("DELETE", f"/models/{name}", headers={"OpenAI-Beta": ""})
                assert deleted.error == (404, f"The model '{name}' does not exist", "model", "model_not_found")


async def test_a_client_that_leaves_stops_the_call(client: Client, model: ScriptedServer) -> None:
    model.script(says("never said").holds("never"), says("half said").waits("half", before=2))
    for gate, streams in (("never", False), ("half", True)):
        async with aiohttp.ClientSession() as leaving:
            call = leaving.post(client.base_url + CHAT, json={**ASKED, "stream": streams}, headers=OURS)
            if streams:
                await call
            else:
                waiting = asyncio.ensure_future(call)
                await model.wait_for_gate(gate)
                waiting.cancel()
        await model.wait_for_disconnect()


async def test_upstream_errors_have_the_apis_shape_and_no_key(client: Client, model: ScriptedServer) -> None:
    def says_error(status: int, error: Any, **headers: str) -> None:
        model.script(errors(status, error, headers))

    says_error(400, {"error": {"message": "bad temperature", "type": "invalid_request_error", "param": "temperature"}})
    status, answer, _ = await posted(client, ASKED)
    expected = {"message": "bad temperature", "type": "invalid_request_error", "param": "temperature", "code": None}
    assert (status, answer) == (400, {"error": expected})
    says_error(429, {"error": {"message": "slow down, sk-abcdef123456"}}, **{"retry-after": "7"})
    status, answer, headers = await posted(client, ASKED)
    assert (status, headers["retry-after"], answer["error"]["message"]) == (429, "7", "slow down, ***")
    says_error(401, {"error": {"message": "Incorrect API key provided: model-key."}})
    status, answer, _ = await posted(client, ASKED)
    assert (status, answer["error"]["type"]) == (502, "server_error")
    assert "model-key" not in answer["error"]["message"]
    says_error(503, "<html>busy model-key</html>")
    status, answer, _ = await posted(client, ASKED)
    assert (status, answer["error"]["message"]) == (503, "an HTML page: busy ***")


async def test_an_idle_connection_that_was_closed_is_no_error(client: Client, model: ScriptedServer) -> None:
    model.script(drops(), says("Hello"))
    assert (await posted(client, ASKED))[0] == 200
    model.script(drops(), drops())
    status, answer, _ = await posted(client, ASKED)
    assert status == 502
    assert answer["error"]["message"].startswith("The model server cannot be reached")


async def test_a_stream_that_breaks_ends_with_an_error(client: Client, model: ScriptedServer) -> None:
    model.script(breaks_after(2))
    asked = {**ASKED, "stream": True}
    async with client.session.post(client.base_url + CHAT, json=asked, headers=OURS) as response:
        frames = (await response.read()).decode().strip().split("\n\n")
    error = orjson.loads(frames[-1].removeprefix("data: "))["error"]
    assert error["message"].startswith("The connection to the model server broke")
    model.script(says("").with_frames(b'data: {"half', "break"))
    async with client.session.post(client.base_url + CHAT, json=asked, headers=OURS) as response:
        with pytest.raises(ClientPayloadError):
            await response.read()


async def test_what_is_refused_before_any_call(client: Client, model: ScriptedServer) -> None:
    bodies: list[dict[str, Any]] = [
        {"messages": []},
        {"model": 7},
        {"model": ""},
        {"model": "x" * (passthrough.MAX_MODEL_NAME + 1)},
    ]
    for body in bodies:
        status, answer, _ = await posted(client, body)
        assert (status, answer["error"]["param"]) == (400, "model")
    assert (await posted(client, ["a list"]))[0] == 400
    without_key = await client.call("POST", CHAT, ASKED, headers={"Authorization": ""})
    assert without_key.status == 401
    assert not model.requests


async def test_unknown_paths_need_no_version(client: Client) -> None:
    answer = await client.call("GET", "/fine_tuning/jobs", headers={"OpenAI-Beta": ""})
    assert answer.error == (404, "Invalid URL (GET /v1/fine_tuning/jobs)", None, "unknown_url")


async def test_a_redirect_to_a_get_is_an_error(client: Client, model: ScriptedServer) -> None:
    model.script(errors(301, "", {"location": "/elsewhere"}))
    status, answer, _ = await posted(client, ASKED)
    assert status == 502
    assert answer["error"]["message"].startswith("The model server redirects to another address (301)")
