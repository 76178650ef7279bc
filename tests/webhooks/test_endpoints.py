"""Endpoints through the API: users create, list, modify, test and delete them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from events.webhook_endpoint import WEBHOOK_EVENTS
from projections import webhooks
from service.database import Pool
from service.webhooks import endpoints
from service.webhooks.endpoints import MAX_ENDPOINTS
from tests.client import Client
from tests.clock import CLOCK
from tests.http.keys import as_key
from tests.webhooks.receiver import Receiver


async def test_the_life_of_an_endpoint(client: Client, receiver: Receiver, pool: Pool) -> None:
    made = await client.post("/webhook_endpoints", {"url": receiver.url(), "description": "Ops"})
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["events"] == list(WEBHOOK_EVENTS.values())
    assert (made["object"], made["status"], made["description"]) == ("webhook_endpoint", "enabled", "Ops")
    path = f"/webhook_endpoints/{made['id']}"
    assert await client.get(path) == made
    assert (await client.get("/webhook_endpoints"))["data"] == [made]
    changed = await client.post(
        path, {"url": receiver.url("/new"), "events": ["thread.run.failed"], "description": None}
    )
    assert changed == {**made, "url": receiver.url("/new"), "events": ["thread.run.failed"], "description": None}
    assert (await client.post(path, {"status": "disabled"}))["status"] == "disabled"
    receiver.secrets["/new"] = secret
    tested = await client.post(path + "/test")
    assert (tested["delivered"], tested["status"], tested["error"]) == (True, 200, None)
    [got] = receiver.messages
    assert (got.path, got.type, got.is_verified) == ("/new", "webhook.test", True)
    assert got.event["data"] == {"object": "webhook_endpoint", "id": made["id"]}
    assert await client.delete(path) == {"id": made["id"], "object": "webhook_endpoint.deleted", "deleted": True}
    for method, at in (("GET", path), ("POST", path), ("DELETE", path), ("POST", path + "/test")):
        gone = await client.call(method, at, {} if method == "POST" else None)
        assert gone.error == (404, f"No webhook_endpoint found with id '{made['id']}'.", None, None)
    told = await pool.fetch("SELECT type, actor, content FROM events_readable WHERE stream_id = $1", made["id"])
    assert [row["type"].partition(".")[2] for row in told] == ["created", "modified", "modified", "deleted"]
    assert secret not in str(told), "the log never contains a secret"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": 7}, "url"),
        ({"url": "https://example.com/" + "x" * 2048}, "url"),
        ({"url": "https://user:word@example.com/"}, "url"),
        ({"url": "https://example.com/", "events": []}, "events"),
        ({"url": "https://example.com/", "events": ["thread.run.exploded"]}, "events[0]"),
        ({"url": "https://example.com/", "events": "thread.run.failed"}, "events"),
        ({"url": "https://example.com/", "secret": "whsec_mine"}, "secret"),
        ({"url": "https://example.com/", "description": "x" * 513}, "description"),
    ],
)
async def test_bad_endpoints(client: Client, body: Any, param: str) -> None:
    refused = await client.call("POST", "/webhook_endpoints", body)
    assert refused.error[0::2] == (400, param)
    assert (await client.get("/webhook_endpoints"))["data"] == []


async def test_the_endpoints_of_a_project_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 2)
    for _ in range(2):
        await client.post("/webhook_endpoints", {"url": "https://example.com/"})
    refused = await client.call("POST", "/webhook_endpoints", {"url": "https://example.com/"})
    assert (refused.status, "2 webhook endpoints" in refused.error[1]) == (400, True)
    assert MAX_ENDPOINTS <= 100


async def test_a_read_only_key_cannot_write(client: Client, pool: Pool) -> None:
    made = await client.post("/webhook_endpoints", {"url": "https://example.com/"})
    async with await as_key(client, pool, scope="read") as reader:
        assert [one["id"] for one in (await reader.get("/webhook_endpoints"))["data"]] == [made["id"]]
        for path in ("/webhook_endpoints", f"/webhook_endpoints/{made['id']}/test"):
            assert (await reader.call("POST", path, {"url": "https://example.com/"})).status == 403


async def test_no_beta_header_is_needed(client: Client) -> None:
    del client.headers["OpenAI-Beta"]
    assert (await client.post("/webhook_endpoints", {"url": "https://example.com/"}))["status"] == "enabled"


async def test_concurrent_creations_stay_within_the_limit(client: Client, pool: Pool) -> None:
    body = {"url": "https://example.com/"}
    answers = await asyncio.gather(*(client.call("POST", "/webhook_endpoints", body) for _ in range(2 * MAX_ENDPOINTS)))
    made = {answer.body["id"] for answer in answers if answer.status == 200}
    assert {answer.status for answer in answers} == {200, 400}
    assert len(made) == MAX_ENDPOINTS
    assert {one["id"] for one in (await client.get("/webhook_endpoints"))["data"]} == made


async def test_all_endpoints_are_listed_even_above_the_limit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [(await client.post("/webhook_endpoints", {"url": "https://example.com/"}))["id"] for _ in range(3)]
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 2)
    assert [one["id"] for one in (await client.get("/webhook_endpoints"))["data"]] == made


async def test_a_repeated_request_returns_the_endpoint_and_its_secret(
    client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state after a crash: of the first request there is only the content of the database."""
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 1)
    body, key = {"url": "https://example.com/"}, {"Idempotency-Key": "k1"}
    first = await client.call("POST", "/webhook_endpoints", body, headers=key)
    await pool.execute("UPDATE idempotency_keys SET status = NULL, process = NULL, content = NULL, headers = NULL")
    again = await client.call("POST", "/webhook_endpoints", body, headers=key)
    assert (again.status, again.body) == (200, first.body)
    assert await pool.fetchval("SELECT count(*) FROM webhook_work") == 1


async def test_a_replaced_secret_stays_valid_for_a_while(client: Client, receiver: Receiver, pool: Pool) -> None:
    made = await client.post("/webhook_endpoints", {"url": receiver.url()})
    path, old = f"/webhook_endpoints/{made['id']}", made["secret"]

    async def is_accepted(secret: str) -> bool:
        receiver.secrets["/hook"] = secret
        return (await client.post(path + "/test"))["delivered"] is True

    key = {"Idempotency-Key": "k1"}
    rotated = (await client.call("POST", path + "/rotate_secret", {"previous_expires_in": 600}, headers=key)).body
    new = rotated["secret"]
    assert (rotated["object"], rotated["endpoint_id"], new != old) == ("webhook_endpoint.secret", made["id"], True)
    assert 590 <= rotated["previous_expires_at"] - CLOCK.now().timestamp() <= 601
    again = await client.call("POST", path + "/rotate_secret", {"previous_expires_in": 600}, headers=key)
    assert again.body == rotated, "a repeated request has no further effect"
    assert [await is_accepted(one) for one in (new, old)] == [True, True]
    newer = (await client.post(path + "/rotate_secret", {"previous_expires_in": 900}))["secret"]
    assert [await is_accepted(one) for one in (newer, new, old)] == [True, True, True], (
        "the client may not have received the second secret"
    )
    await pool.execute("UPDATE webhook_work SET replaced_until[2] = now()")
    assert [await is_accepted(one) for one in (newer, new, old)] == [True, True, False]
    at_once = await client.post(path + "/rotate_secret", {"previous_expires_in": 0})
    assert at_once["previous_expires_at"] is None
    assert [await is_accepted(one) for one in (at_once["secret"], newer, new)] == [True, False, False]
    await client.post(path + "/rotate_secret")
    await pool.execute("UPDATE webhook_work SET replaced_until[1] = now()")
    async with pool.acquire() as db:
        await webhooks.drop_dead(db, 10)
    assert await pool.fetchval("SELECT replaced_secrets FROM webhook_work") == []
    told = await pool.fetch(
        "SELECT type, content FROM events_readable WHERE stream_id = $1 ORDER BY version", made["id"]
    )
    assert [row["type"] for row in told[1:]] == ["webhook_endpoint.secret_rotated"] * 4
    assert "whsec" not in str(told)
    for body in ({"previous_expires_in": -1}, {"previous_expires_in": 604801}, {"secret": "whsec_mine"}):
        assert (await client.call("POST", path + "/rotate_secret", body)).status == 400
    assert (await client.call("POST", "/webhook_endpoints/we_none/rotate_secret", {})).status == 404
