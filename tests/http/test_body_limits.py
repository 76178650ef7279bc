"""Bodies are bounded in tokens by their operation, and in bytes in flight by the process and by the key."""

from __future__ import annotations

import asyncio
import itertools
import json
from types import SimpleNamespace

import orjson
import pytest

from projections import assistants, messages, metadata, runs, steps
from service.http import bodies, body_budget
from service.http.body_budget import FREE, BodyBudget, BudgetExceeded
from service.http.route import LARGE_BODY, MEDIUM_BODY, PASSED_BODY, SMALL_BODY, BodyLimit
from service.wire.json_meter import PIECE, JsonMeter
from service.wire.json_steps import MAX_LONG_TEXT, STEP
from tests.client import Client


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/assistants", LARGE_BODY), ("/threads/thread_none", MEDIUM_BODY), ("/vector_stores", SMALL_BODY)],
)
async def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(
    client: Client, path: str, limit: BodyLimit
) -> None:
    for allowed, code in ((limit.tokens - 2, "unknown_parameter"), (limit.tokens + 1, "request_too_complex")):
        body = b'{"model":"m","surprise":[' + b",".join([b"0"] * (allowed - 3)) + b"]}"
        answer = await client.call("POST", path, body)
        assert (answer.status, answer.error[3]) == (400, code)
    assert f"more than {limit.tokens} values" in answer.error[1]


async def test_a_body_is_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other requests run while a large body is measured: here, a look at the clock takes a third of a turn."""
    looks, turns = itertools.count(), list[int]()
    clock = SimpleNamespace(perf_counter=lambda: next(looks) * bodies.MAX_TURN_S / 3)
    monkeypatch.setattr(bodies, "time", clock)
    loop = asyncio.get_running_loop()

    def count_turn() -> None:
        turns.append(len(turns))
        loop.call_soon(count_turn)

    loop.call_soon(count_turn)
    await bodies._measure(JsonMeter(), b'"' + b" " * (12 * PIECE - 2) + b'"', most_tokens=10)
    assert len(turns) == 4, "a turn is three pieces of twelve"


async def test_text_is_not_counted(client: Client) -> None:
    text = "[{,:" * 64_000
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": text}]})
    [message] = (await client.get(f"/threads/{thread['id']}/messages"))["data"]
    assert message["content"][0]["text"]["value"] == text


async def test_the_longest_text_may_be_escaped(client: Client) -> None:
    text = "😀" * 256_000
    body = b'{"role":"user","content":"' + b"\\ud83d\\ude00" * 256_000 + b'"}'
    thread = await client.post("/threads")
    message = await client.post(f"/threads/{thread['id']}/messages", body)
    assert message["content"][0]["text"]["value"] == text


async def test_a_large_body_is_read_as_a_small_one_is(client: Client) -> None:
    texts = [f"{number}😀" + "é" * 200_000 for number in range(8)]
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": text} for text in texts]})
    messages = (await client.get(f"/threads/{thread['id']}/messages", order="asc"))["data"]
    assert [message["content"][0]["text"]["value"] for message in messages] == texts


async def test_what_is_wrong_in_a_large_body_is_named(client: Client) -> None:
    large = "x" * STEP
    for body, code, text in (
        (b'{"name":"%b"]' % large.encode(), None, "not valid JSON: unexpected character.)"),
        (b'{"name":"' + b"x" * MAX_LONG_TEXT + "😀".encode() + b'"}', "string_above_max_length", "4000001 characters"),
        (orjson.dumps({"a": large, "model": "m"}), "unknown_parameter", "Unknown parameter: 'a'."),
        (b'{"model":"m","name":"%b\\u0000"}' % large.encode(), "invalid_value", "Invalid 'name': NUL characters"),
    ):
        answer = await client.call("POST", "/assistants", body)
        assert (answer.status, answer.error[3]) == (400, code)
        assert text in answer.error[1]


async def test_an_integer_beyond_64_bits_is_found_in_a_body_of_any_size(client: Client) -> None:
    parameters = {"type": "object", "properties": {}, "maximum": 2**70, "title": "x" * 100_000}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    answer = await client.call("POST", "/assistants", json.dumps({"model": "m", "tools": tools}).encode())
    assert (answer.status, answer.error[2]) == (400, "tools[0].function.parameters")


def test_the_budget_counts_what_has_arrived_beyond_the_free_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_budget, "MAX_IN_FLIGHT", 1000)
    monkeypatch.setattr(body_budget, "MAX_KEY_IN_FLIGHT", 600)
    budget = BodyBudget()
    first, second, third = budget.reserve("key_a"), budget.reserve("key_a"), budget.reserve("key_b")
    first.add(FREE)
    first.add(500)
    with pytest.raises(BudgetExceeded) as full:
        second.add(FREE + 101)
    assert full.value.owner == "key"
    third.add(FREE + 500)
    with pytest.raises(BudgetExceeded) as full:
        budget.reserve("key_c").add(FREE + 1)
    assert full.value.owner == "server"
    budget.reserve("key_c").add(FREE)
    for held in (first, second, third, first):
        held.release()
    assert budget.in_flight == 0


@pytest.mark.parametrize(("name", "status"), [("MAX_IN_FLIGHT", 503), ("MAX_KEY_IN_FLIGHT", 429)])
async def test_a_full_budget_refuses_large_bodies_only(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    assert getattr(body_budget, name) >= PASSED_BODY.bytes
    monkeypatch.setattr(body_budget, name, 100_000)
    large = orjson.dumps({"model": "m", "instructions": "x" * 200_000})
    answer = await client.call("POST", "/assistants", large)
    assert (answer.status, answer.error[3], answer.headers["retry-after"]) == (status, "too_many_bytes", "1")
    await client.post("/assistants", {"model": "m"})
    monkeypatch.setattr(body_budget, name, 200_000)
    for _ in range(3):
        await client.post("/assistants", large)


@pytest.mark.parametrize("query", ["", "order=asc"])
async def test_a_page_of_large_objects_ends_early(client: Client, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """The next page goes on where it ended, so that clients which read `has_more` get every object once."""
    texts = [f"{n}" + "x" * 600 for n in range(7)]
    thread = await client.post("/threads", {"messages": [{"role": "user", "content": text} for text in texts]})
    for module in (messages, runs, steps, assistants, metadata):
        monkeypatch.setattr(module, "MAX_PAGE_BYTES", 1_000)
    path, order = f"/threads/{thread['id']}/messages", "asc" if query == "order=asc" else "desc"
    found: list[str] = []
    page = await client.get(path, order=order)
    while True:
        assert len(page["data"]) <= 2
        found += [message["content"][0]["text"]["value"] for message in page["data"]]
        if not page["has_more"]:
            break
        page = await client.get(path, order=order, after=page["last_id"])
    assert found == (texts if order == "asc" else texts[::-1])
    for number in range(3):
        await client.post("/assistants", {"model": "m", "metadata": {"a": "b"}, "instructions": f"{number}" * 1_000})
    for filters in ({}, {"metadata[a]": "b"}):
        listed = await client.get("/assistants", **filters)
        assert (len(listed["data"]), listed["has_more"]) == (1, True)
