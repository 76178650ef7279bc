"""GET /v1/organization/usage/completions and /v1/organization/costs, read by the SDK."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from service.cli import admin
from service.database import Pool
from tests.client import Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, says

WAIT_S = 60.0
DAY_S = 86_400
USAGE = (1000, 100)
PRICES = """
[[models]]
match = "gpt-priced"
[[models.prices]]
input = 100
output = 1000
[[models.prices]]
since = 2020-01-01
input = 2
cached_input = 1
output = 10
"""


def sdk_of(client: Client) -> AsyncOpenAI:
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(base_url=client.base_url, api_key=key, admin_api_key=key)


async def usage_results(client: Client, start: int, **query: Any) -> list[Any]:
    async with sdk_of(client) as sdk:
        page = await sdk.admin.organization.usage.completions(start_time=start, limit=2, **query)
    return [result for bucket in page.data for result in bucket.results]


async def cost_results(client: Client, start: int, **query: Any) -> list[Any]:
    async with sdk_of(client) as sdk:
        page = await sdk.admin.organization.usage.costs(start_time=start, limit=2, **query)
    return [result for bucket in page.data for result in bucket.results]


async def wait_for_calls(client: Client, start: int, calls: int) -> None:
    """Waits until the follower has counted so many calls."""
    async with asyncio.timeout(WAIT_S):
        while sum(result.num_model_requests for result in await usage_results(client, start)) < calls:
            await asyncio.sleep(0.05)


async def test_a_program_reads_usage_and_costs(
    start_server: StartServer, pool: Pool, model: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "models.toml").write_text(PRICES)
    await admin.create_project(writer(pool), "Other", ids=IDS)
    async with start_server(models=tmp_path / "models.toml") as client:
        own = await as_key(client, pool)
        other = await as_key(client, pool, "Other")
        everything = await as_key(client, pool, "default", scope="admin")
        async with own, other, everything:
            model.script(*(says("Hi", usage=USAGE) for _ in range(3)))
            run = await own.settled(await run_of(own, "Hi", model="gpt-priced"))
            await own.settled(await run_of(own, "Hi", model="gpt-free"))
            await other.settled(await run_of(other, "Hi", model="gpt-priced"))
            start = run["created_at"] - run["created_at"] % DAY_S
            await wait_for_calls(everything, start, 3)
            [total] = await usage_results(own, start)
            counts = (total.input_tokens, total.input_cached_tokens, total.output_tokens, total.num_model_requests)
            assert counts == (2000, 0, 200, 2)
            assert (total.model, total.project_id, total.api_key_id, total.batch) == (None, None, None, None)
            by_model = await usage_results(own, start, group_by=["model", "api_key_id"])
            assert {(result.model, result.num_model_requests) for result in by_model} == {
                ("gpt-free", 1),
                ("gpt-priced", 1),
            }
            assert len({result.api_key_id for result in by_model}) == 1
            assert [result.num_model_requests for result in await usage_results(other, start)] == [1]
            by_project = await usage_results(everything, start, group_by=["project_id"])
            assert sorted(result.num_model_requests for result in by_project) == [1, 2]
            projects = [result.project_id for result in by_project]
            assert await usage_results(own, start, project_ids=projects) == [total]
            assert [r.num_model_requests for r in await usage_results(own, start, models=["gpt-free"])] == [1]
            assert await usage_results(own, start, user_ids=["user_1"]) == []
            assert await usage_results(own, start, batch=True) == []
            assert await usage_results(own, start, batch=False) != []
            # 1,000 × 2 + 100 × 10 dollars for a million tokens
            [cost] = await cost_results(own, start)
            assert (cost.amount.value, cost.amount.currency) == (0.003, "usd")
            lines = await cost_results(own, start, group_by=["line_item"])
            assert {(line.line_item, line.amount.value) for line in lines} == {
                ("gpt-priced, input", 0.002),
                ("gpt-priced, output", 0.001),
            }
            [both] = await cost_results(everything, start)
            assert both.amount.value == 0.006


async def test_buckets_are_paged(client: Client) -> None:
    async with sdk_of(client) as sdk:
        first = await sdk.admin.organization.usage.completions(start_time=90_000, end_time=90_000 + 5 * DAY_S, limit=2)
        assert [(bucket.start_time, bucket.end_time) for bucket in first.data] == [
            (DAY_S, 2 * DAY_S),
            (2 * DAY_S, 3 * DAY_S),
        ]
        starts, page = [], first
        while True:
            starts += [bucket.start_time // DAY_S for bucket in page.data]
            if not page.has_more:
                break
            page = await sdk.admin.organization.usage.completions(
                start_time=90_000, end_time=90_000 + 5 * DAY_S, limit=2, page=str(page.next_page)
            )
        assert starts == [1, 2, 3, 4, 5, 6]
        hours = await sdk.admin.organization.usage.completions(start_time=0, bucket_width="1h")
        assert (len(hours.data), hours.data[1].start_time) == (24, 3600)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": "x"}, "start_time"),
        ({"start_time": "10", "end_time": "10"}, "end_time"),
        ({"start_time": "10", "bucket_width": "2d"}, "bucket_width"),
        ({"start_time": "10", "limit": "32"}, "limit"),
        ({"start_time": "10", "limit": "0"}, "limit"),
        ({"start_time": "10", "page": "7"}, "page"),
        ({"start_time": "10", "page": "page_999999999999999999"}, "page"),
        ({"start_time": "10", "group_by": "colour"}, "group_by"),
        ({"start_time": "10", "batch": "maybe"}, "batch"),
        ({"start_time": "10", "models": "a\x00"}, "models"),
    ],
)
async def test_a_wrong_query_is_refused(client: Client, query: dict[str, str], param: str) -> None:
    answer = await client.call("GET", "/organization/usage/completions", headers=None, **query)
    status, _, named, _ = answer.error
    assert (status, named) == (400, param)
