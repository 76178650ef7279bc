"""Wrong keys and tokens of one address are bounded, and correct ones are never refused."""

from __future__ import annotations

import pytest

from service.access import wrong_keys
from service.access.rate_limits import Bucket
from service.access.wrong_keys import MAX_PEERS, MAX_WRONG_KEYS, WrongKeyLimit
from tests.client import Client
from tests.http.helpers import thread_with


async def test_wrong_keys_are_bounded_and_correct_ones_are_not(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # No time passes, however slow this machine is.
    monkeypatch.setattr(Bucket, "fill", lambda *_: None)
    thread = await thread_with(client, "Hi")
    for number in range(MAX_WRONG_KEYS):
        async with Client(client.base_url, key=f"et-wrong-{number}") as stranger:
            assert (await stranger.call("GET", "/models")).error[0::3] == (401, "invalid_api_key")
    async with Client(client.base_url, key="et-wrong") as stranger:
        for _ in range(2):
            refused = await stranger.call("GET", "/assistants")
            assert refused.error[0::3] == (429, "too_many_wrong_keys")
            assert 1 <= int(refused.headers["Retry-After"]) <= 60 / MAX_WRONG_KEYS + 1
        path, stranger.headers["Authorization"] = f"/threads/{thread['id']}/stream", ""
        assert (await stranger.call("GET", path, token="x.y.z")).error[0::3] == (429, "too_many_wrong_keys")
        assert (await stranger.call("GET", "/assistants")).status == 401, "without a key nothing is looked up"
    assert (await client.get("/assistants"))["data"] == []


def test_wrong_keys_are_forgiven_in_time() -> None:
    now = [0.0]
    limit = WrongKeyLimit(timer=lambda: now[0])
    assert [limit.count("192.0.2.1") for _ in range(MAX_WRONG_KEYS)] == [None] * MAX_WRONG_KEYS
    assert limit.count("192.0.2.1") == 60 / MAX_WRONG_KEYS
    assert limit.count("192.0.2.2") is None, "other addresses have their own bound"
    now[0] += 60 / MAX_WRONG_KEYS
    assert limit.count("192.0.2.1") is None
    assert limit.count("192.0.2.1") is not None


def test_the_memory_is_bounded() -> None:
    limit = WrongKeyLimit()
    for number in range(MAX_PEERS + 10):
        limit.count(f"peer {number}")
    assert limit.peers == MAX_PEERS


async def test_throttled_lookups_take_turns() -> None:
    limit = WrongKeyLimit()
    for _ in range(MAX_WRONG_KEYS + 1):
        limit.count("a")
    async with limit.lookup("a"), limit.lookup("a"), limit.lookup("b"):
        assert limit._lookups.locked()
    assert wrong_keys.THROTTLED_LOOKUPS == 2
