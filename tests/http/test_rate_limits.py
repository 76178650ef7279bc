"""The rate limits of keys: charging, refilling, and the headers and errors of responses."""

from __future__ import annotations

import pytest

from events.api_key import Scope
from projections.keys import ApiKey
from service.access.keys import digest_of
from service.access.rate_limits import RateLimitExceeded, RateLimits
from service.database import Pool
from service.http.usage_meter import UsageMeter
from service.idempotency.keys import MAX_CONTENT
from tests.client import Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.keys import as_key
from tests.http.test_keys import Timer
from tests.scripted import ScriptedServer, says


def key(scope: Scope = "full", **limits: int) -> ApiKey:
    return ApiKey("key_1", "proj_1", scope, digest_of("x"), **limits)


def test_requests_come_back_evenly(pool: Pool) -> None:
    timer = Timer()
    limits, limited = RateLimits(pool, timer=timer), key(requests_per_minute=2)
    assert [limits.admit(limited, spends=False)[0].remaining for _ in range(2)] == [1, 0]
    for _ in range(3):
        with pytest.raises(RateLimitExceeded) as refused:
            limits.admit(limited, spends=False)
        assert (refused.value.measure, refused.value.wait) == ("requests", 30.0)
    timer.now += 29
    with pytest.raises(RateLimitExceeded) as refused:
        limits.admit(limited, spends=False)
    assert refused.value.wait == pytest.approx(1.0)
    timer.now += 1
    [standing] = limits.admit(limited, spends=False)
    assert standing.remaining == 0
    assert standing.reset == pytest.approx(60.0)
    timer.now += 3600
    assert limits.admit(limited, spends=False)[0].remaining == 1, "a bucket never holds more than a minute's"


def test_tokens_are_taken_afterwards_and_hold_back_only_what_spends(pool: Pool) -> None:
    timer = Timer()
    limits, limited = RateLimits(pool, timer=timer), key(tokens_per_minute=100)
    limits.charge("key_1", 5)
    assert limits.admit(limited, spends=True)[0].remaining == 100, "nothing is known of a key before its first request"
    limits.charge("key_1", 250)
    limits.charge("key_2", 250)
    [standing] = limits.admit(limited, spends=False)
    assert (standing.measure, standing.remaining) == ("tokens", 0)
    with pytest.raises(RateLimitExceeded) as refused:
        limits.admit(limited, spends=True)
    assert refused.value.used == 250
    assert refused.value.wait == pytest.approx(90.6)
    timer.now += 91
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
        await model.wait_for_gate("gate")
        theirs = await assistant_with(client)
        await client.settled(await client.post(path, {"assistant_id": theirs["id"]}))
        model.open_gate("gate")
        await limited.settled(run)
        await limited.settled(await limited.post(path, body))


def test_whose_tokens(pool: Pool) -> None:
    """Runs whose key has no limit of tokens are not remembered."""
    limits = RateLimits(pool, timer=Timer())
    limits.admit(key(requests_per_minute=5), spends=False)
    limits._remember("run_1", "key_1")
    limits._remember("run_2", "default")
    assert limits._runs == {}


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True])
async def test_what_passes_through_uses_tokens_too(
    client: Client, pool: Pool, model: ScriptedServer, streams: bool
) -> None:
    async with await as_key(client, pool, tokens_per_minute=1000) as limited:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": streams}
        model.script(says("Long.", usage=(1500, 50)))
        url = f"{client.base_url}/chat/completions"
        told = {**body, "stream_options": {"include_usage": True}} if streams else body
        async with client.session.post(url, json=told, headers=limited.headers) as response:
            assert response.status == 200
            await response.read()
        for path in ("/chat/completions", "/threads/runs", "/embeddings"):
            refused = await limited.call("POST", path, body)
            assert (refused.error[0], refused.error[3]) == (429, "rate_limit_exceeded")
            assert "tokens per min (TPM): Limit 1000, Used 15" in refused.error[1]
        assert (await limited.call("GET", "/assistants")).status == 200
    assert len(model.requests) == 1


def _heard(answer: bytes, *, streams: bool, pieces: int, keeps: bool = False) -> UsageMeter:
    heard = UsageMeter(400, streams=streams, keeps=keeps)
    for start in range(0, len(answer), pieces):
        heard.take(answer[start : start + pieces])
    return heard


@pytest.mark.parametrize("pieces", [1, 7, 100_000])
def test_usage_is_found_wherever_it_is(pieces: int) -> None:
    usage = b'"usage":{"prompt_tokens":5,"total_tokens":12,"d":{"x":1}}'
    chunk = b'data: {"choices":[{"delta":{"content":"\\"usage\\":{\\"total_tokens\\":999}"}}],"usage":null}\n\n'
    for last in (b"data: {" + usage + b"}\n\ndata: [DONE]\n\n", b'data: {"choices":[], ' + usage + b', "x":1}\n\n'):
        assert _heard(chunk * 500 + last, streams=True, pieces=pieces).tokens == 12
    answer = b'{"data":[' + b"0.5," * 5 + b"1]," + usage + b',"z":{"usage":{"total_tokens":7}}}'
    assert _heard(answer, streams=False, pieces=pieces).tokens == 12
    long = b'{"data":[' + b"0.25," * 300_000 + b"1]," + usage + b"}"
    assert _heard(long, streams=False, pieces=100_000).tokens == 12
    assert _heard(chunk * 50, streams=True, pieces=100_000).tokens == 100 + 50, "by estimate"
    for strange in (
        b"",
        b"[]",
        b'{"usage":7}',
        b'{"usage":{"total_tokens":"x"}}',
        b'{"usage":{"total_tokens":-5}}',
        b"\xff",
    ):
        assert _heard(strange, streams=False, pieces=pieces).tokens == 100
        assert _heard(strange, streams=True, pieces=pieces).tokens == 100


def test_bytes_are_kept_only_so_far() -> None:
    assert _heard(b"abc", streams=True, pieces=1, keeps=True).content == b"abc"
    assert _heard(b"abc", streams=False, pieces=1).content is None
    assert _heard(b"x" * (MAX_CONTENT + 1), streams=False, pieces=1 << 20, keeps=True).content is None
