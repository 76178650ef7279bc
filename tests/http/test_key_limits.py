"""The limits of keys: what is taken, when it comes back, and what the client is told."""

from __future__ import annotations

import pytest

from events.api_key import Scope
from projections.keys import ApiKey
from service.database import Pool
from service.keys import digest_of
from service.limits import Limited, Limits
from tests.client import Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.keys import as_key
from tests.http.test_keys import Clock
from tests.scripted import ScriptedServer, says


def key(scope: Scope = "full", **limits: int) -> ApiKey:
    return ApiKey("key_1", "proj_1", scope, digest_of("x"), **limits)


def test_requests_come_back_evenly(pool: Pool) -> None:
    clock = Clock()
    limits, limited = Limits(pool, clock=clock), key(requests_per_minute=2)
    assert [limits.admit(limited, spends=False)[0].remaining for _ in range(2)] == [1, 0]
    for _ in range(3):
        with pytest.raises(Limited) as refused:
            limits.admit(limited, spends=False)
        assert (refused.value.measure, refused.value.wait) == ("requests", 30.0)
    clock.now += 29
    with pytest.raises(Limited) as refused:
        limits.admit(limited, spends=False)
    assert refused.value.wait == pytest.approx(1.0)
    clock.now += 1
    [standing] = limits.admit(limited, spends=False)
    assert standing.remaining == 0
    assert standing.reset == pytest.approx(60.0)
    clock.now += 3600
    assert limits.admit(limited, spends=False)[0].remaining == 1, "a bucket never holds more than a minute's"


def test_tokens_are_taken_afterwards_and_hold_back_only_what_spends(pool: Pool) -> None:
    clock = Clock()
    limits, limited = Limits(pool, clock=clock), key(tokens_per_minute=100)
    limits.charge("key_1", 5)
    assert limits.admit(limited, spends=True)[0].remaining == 100, "nothing is known of a key before its first request"
    limits.charge("key_1", 250)
    limits.charge("key_2", 250)
    [standing] = limits.admit(limited, spends=False)
    assert (standing.measure, standing.remaining) == ("tokens", 0)
    with pytest.raises(Limited) as refused:
        limits.admit(limited, spends=True)
    assert refused.value.used == 250
    assert refused.value.wait == pytest.approx(90.6)
    clock.now += 91
    assert limits.admit(limited, spends=True)[0].remaining == 1


async def test_too_many_requests(client: Client, pool: Pool) -> None:
    async with await as_key(client, pool, requests_per_minute=2) as limited:
        first = await limited.call("GET", "/assistants")
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-reset-requests"] in ("30s", "29.999s")
        assert "x-ratelimit-limit-tokens" not in first.headers
        assert (await limited.call("GET", "/assistants/nothing")).status == 404
        refused = await limited.call("GET", "/assistants")
        status, message, param, code = refused.error
        assert (status, param, code) == (429, None, "rate_limit_exceeded")
        assert refused.body["error"]["type"] == "requests"
        assert "requests per min (RPM): Limit 2, Used 2. Please try again in" in message
        assert 25 <= int(refused.headers["retry-after"]) <= 30
        assert 25_000 <= int(refused.headers["retry-after-ms"]) <= 30_000
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    unlimited = await client.call("GET", "/assistants")
    assert not [name for name in unlimited.headers if name.lower().startswith("x-ratelimit")]


async def test_too_many_tokens(client: Client, pool: Pool, model: ScriptedServer) -> None:
    async with await as_key(client, pool, tokens_per_minute=100) as limited:
        model.script(says("Long.", usage=(300, 50)))
        run = await run_of(limited, "Hi")
        await limited.settled(run)
        path = f"/threads/{run['thread_id']}/runs"
        for where in (path, "/threads/runs"):
            refused = await limited.call("POST", where, {"assistant_id": run["assistant_id"]})
            assert (refused.error[0], refused.error[3], refused.body["error"]["type"]) == (
                429,
                "rate_limit_exceeded",
                "tokens",
            )
            assert "tokens per min (TPM): Limit 100, Used 3" in refused.error[1]
            assert int(refused.headers["retry-after"]) > 120
        told = await limited.call("GET", path)
        assert (told.status, told.headers["x-ratelimit-remaining-tokens"]) == (200, "0")
        assert len((await limited.get(path))["data"]) == 1


async def test_too_many_runs_at_once(client: Client, pool: Pool, model: ScriptedServer) -> None:
    async with await as_key(client, pool, max_runs=1) as limited:
        model.script(says("Slow.").holds("gate"))
        run = await run_of(limited, "Hi")
        thread = await thread_with(limited, "And?")
        body = {"assistant_id": run["assistant_id"]}
        path = f"/threads/{thread['id']}/runs"
        for streams in (False, True):
            refused = await limited.call("POST", path, {**body, "stream": streams})
            assert (refused.error[0], refused.error[3]) == (429, "rate_limit_exceeded")
            assert refused.headers["retry-after"] == "1"
        await model.reached("gate")
        theirs = await assistant_with(client)
        await client.settled(await client.post(path, {"assistant_id": theirs["id"]}))
        model.open("gate")
        await limited.settled(run)
        await limited.settled(await limited.post(path, body))


def test_whose_tokens(pool: Pool) -> None:
    """Nothing is remembered of runs whose key has no limit on tokens."""
    limits = Limits(pool, clock=Clock())
    limits.admit(key(requests_per_minute=5), spends=False)
    limits._remember("run_1", "key_1")
    limits._remember("run_2", "default")
    assert limits._runs == {}
