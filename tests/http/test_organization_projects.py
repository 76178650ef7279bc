"""/v1/organization/projects and their API keys: by the SDK, and by plain requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from service.access.keys import CACHE_S
from service.database import Pool
from tests.client import Client
from tests.http.helpers import assistant_with
from tests.http.keys import as_key

PROJECTS = "/organization/projects"


def sdk_of(client: Client) -> AsyncOpenAI:
    key = client.headers["Authorization"].removeprefix("Bearer ")
    return AsyncOpenAI(base_url=client.base_url, api_key=key, admin_api_key=key)


async def refused_key(client: Client) -> tuple[int, str | None]:
    status, _, _, code = (await client.call("GET", "/assistants")).error
    return status, code


async def test_the_sdk_reads_projects_and_keys(client: Client) -> None:
    async with sdk_of(client) as sdk:
        made = await sdk.admin.organization.projects.create(name="Research")
        assert (made.name, made.status, made.archived_at) == ("Research", "active", None)
        renamed = await sdk.admin.organization.projects.update(made.id, name="Labor")
        assert renamed.name == (await sdk.admin.organization.projects.retrieve(made.id)).name == "Labor"
        others = [(await sdk.admin.organization.projects.create(name=f"P{number}")).id for number in range(3)]
        listed = [project async for project in sdk.admin.organization.projects.list(limit=2)]
        assert [project.id for project in listed] == ["proj_default", made.id, *others]
        key_ids = [(await client.post(f"{PROJECTS}/{made.id}/api_keys", {"name": f"k{i}"}))["id"] for i in range(3)]
        keys = [key async for key in sdk.admin.organization.projects.api_keys.list(made.id, limit=2)]
        assert [key.id for key in keys] == key_ids
        found = await sdk.admin.organization.projects.api_keys.retrieve(key_ids[0], project_id=made.id)
        assert (found.name, found.owner.type, found.owner_project_access) == ("k0", "service_account", "active")
        gone = await sdk.admin.organization.projects.api_keys.delete(key_ids[0], project_id=made.id)
        assert (gone.deleted, gone.id) == (True, key_ids[0])
        left = [key.id async for key in sdk.admin.organization.projects.api_keys.list(made.id)]
        assert left == key_ids[1:]


async def test_a_key_works_until_it_is_revoked(client: Client, pool: Pool) -> None:
    project = await client.post(PROJECTS, {"name": "Research"})
    path = f"{PROJECTS}/{project['id']}/api_keys"
    answer = await client.call("POST", path, {"name": "web", "scope": "full", "max_runs": 3})
    assert answer.headers["Cache-Control"] == "no-store"
    made: Any = answer.body
    secret = made.pop("value")
    assert (made["scope"], made["max_runs"], made["redacted_value"]) == ("full", 3, f"et-…{secret[-4:]}")
    assert await client.get(f"{path}/{made['id']}") == made, "without its secret"
    async with Client(client.base_url, key=secret) as other:
        assistant = await assistant_with(other)
        assert (await client.call("GET", f"/assistants/{assistant['id']}")).status == 404, "it is of another project"
        changed = await client.post(f"{path}/{made['id']}", {"requests_per_minute": 7, "max_runs": None})
        assert changed == {**made, "requests_per_minute": 7, "max_runs": None}
        await client.delete(f"{path}/{made['id']}")
        await asyncio.sleep(CACHE_S)
        assert await refused_key(other) == (401, "invalid_api_key")
    assert (await client.call("GET", f"{path}/{made['id']}")).status == 404
    assert (await client.call("POST", f"{path}/{made['id']}", {"name": "x"})).status == 404
    assert (await client.call("DELETE", f"{path}/{made['id']}")).status == 404
    assert (await client.get(path))["data"] == []
    [revoked] = (await client.get(path, include_revoked="true"))["data"]
    assert revoked["revoked_at"] is not None
    rows = await pool.fetch(
        "SELECT type, actor, project_id FROM events WHERE stream_id IN ($1, $2) ORDER BY at",
        made["id"],
        project["id"],
    )
    assert [row["type"] for row in rows] == ["project.created", "key.created", "key.modified", "key.revoked"]
    assert {(row["actor"], row["project_id"]) for row in rows} == {("key:default", project["id"])}


@pytest.mark.parametrize("scope", ["full", "read", "audit", "audit:content"])
async def test_only_admin_keys_manage_keys(client: Client, pool: Pool, scope: str) -> None:
    async with await as_key(client, pool, scope=scope) as other:
        for method, path in (("GET", PROJECTS), ("POST", PROJECTS), ("POST", f"{PROJECTS}/proj_default/api_keys")):
            answer = await other.call(method, path, {"name": "x"} if method == "POST" else None)
            assert answer.status == 403
            assert "'admin'" in answer.body["error"]["message"]


async def test_wrong_requests_are_refused(client: Client) -> None:
    project = await client.post(PROJECTS, {"name": "Research"})
    keys = f"{PROJECTS}/{project['id']}/api_keys"
    for path, body, param in (
        (PROJECTS, {}, "name"),
        (PROJECTS, {"name": ""}, "name"),
        (PROJECTS, {"name": "x" * 257}, "name"),
        (PROJECTS, {"name": "a\nb"}, "name"),
        (PROJECTS, {"name": "Research"}, "name"),
        (PROJECTS, {"name": "default"}, "name"),
        (PROJECTS, {"name": "all"}, "name"),
        (f"{PROJECTS}/proj_default", {"name": "Mine"}, "name"),
        (keys, {"name": "x", "scope": "owner"}, "scope"),
        (keys, {"name": "x", "max_runs": 0}, "max_runs"),
        (keys, {"name": "x", "max_runs": 2**31}, "max_runs"),
        (keys, {"name": "x", "colour": "red"}, "colour"),
        (f"{PROJECTS}/installation/api_keys", {"name": "x", "scope": "full"}, "scope"),
    ):
        status, _, named, _ = (await client.call("POST", path, body)).error
        assert (status, named) == (400, param), (path, body)
    for path in (f"{PROJECTS}/proj_none", f"{PROJECTS}/proj_none/api_keys", f"{keys}/key_none"):
        assert (await client.call("GET", path)).status == 404
    assert (await client.call("POST", f"{PROJECTS}/proj_none/api_keys", {"name": "x"})).status == 404
    for query in ({"limit": "0"}, {"limit": "101"}, {"include_revoked": "maybe"}):
        assert (await client.call("GET", keys, headers=None, **query)).status == 400
    assert (await client.call("GET", keys, headers=None, after="key_none")).status == 404


async def test_a_key_of_all_projects_reads_the_audit(client: Client) -> None:
    made = await client.post(f"{PROJECTS}/installation/api_keys", {"name": "auditor", "scope": "audit"})
    async with Client(client.base_url, key=made["value"]) as auditor:
        assert (await auditor.get("/organization/audit_logs"))["object"] == "list"


async def test_a_repeated_request_makes_no_second_key(client: Client) -> None:
    path, headers = f"{PROJECTS}/proj_default/api_keys", {"Idempotency-Key": "k1"}
    first = await client.call("POST", path, {"name": "once"}, headers=headers)
    again = await client.call("POST", path, {"name": "once"}, headers=headers)
    assert first.status == 200
    assert (again.status, again.body["error"]["code"]) == (400, "key_already_shown")
    assert first.body["id"] in again.body["error"]["message"]
    assert [key["name"] for key in (await client.get(path))["data"]] == ["once"]
    project = await client.call("POST", PROJECTS, {"name": "Twice"}, headers=headers | {"Idempotency-Key": "k2"})
    repeat = await client.call("POST", PROJECTS, {"name": "Twice"}, headers=headers | {"Idempotency-Key": "k2"})
    assert project.body == repeat.body


async def test_the_last_use_is_shown(client: Client, pool: Pool) -> None:
    made = await client.post(f"{PROJECTS}/proj_default/api_keys", {"name": "used"})
    assert made["last_used_at"] is None
    await pool.execute("INSERT INTO key_uses (key_id, last_used_at) VALUES ($1, to_timestamp(1700000000))", made["id"])
    found = await client.get(f"{PROJECTS}/proj_default/api_keys/{made['id']}")
    assert found["last_used_at"] == 1_700_000_000
