"""Neither GET /healthz nor an error shows the address of the model server or of the database."""

from __future__ import annotations

import orjson

from tests.client import Client
from tests.http.helpers import run_of
from tests.scripted import ScriptedServer


async def test_no_answer_shows_the_address_of_the_model_server(client: Client, model: ScriptedServer) -> None:
    origin = client.base_url.removesuffix("/v1")
    await model.close()
    run = await client.settled(await run_of(client, "Hi"))
    reason = "The model server cannot be reached: connection refused"
    assert run["last_error"] == {"code": "server_error", "message": reason}
    passed = await client.call("POST", "/chat/completions", {"model": "gpt-4o", "messages": []})
    assert passed.error[:2] == (502, reason)
    assert (await client.call("GET", "/models")).error[:2] == (502, reason)
    async with client.session.get(f"{origin}/healthz", headers={"Authorization": ""}) as health:
        assert health.status == 503
        assert orjson.loads(await health.read())["model"] == reason
