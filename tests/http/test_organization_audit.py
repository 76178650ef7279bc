"""GET /v1/organization/audit_logs, read by the SDK as connectors do."""

from __future__ import annotations

import asyncio
from typing import Any, get_args, get_type_hints

import pytest
from openai import AsyncOpenAI
from openai.types.admin.organization.audit_log_list_params import AuditLogListParams

from service.cli import admin
from service.database import Pool
from service.wire.audit_log_types import ORIGINAL_TYPES
from service.wire.organization_audit import TYPES
from tests.client import Client
from tests.clock import IDS
from tests.http.helpers import thread_with
from tests.http.keys import as_key, make_key, writer
from tests.http.test_audit_feed import WAIT_S, watch


async def settle(client: Client, stream_id: str, count: int) -> None:
    """Waits until the first events of the stream are in the log."""
    async with asyncio.timeout(WAIT_S), watch(client, stream_id=stream_id) as events:
        for _ in range(count):
            await anext(events)


async def test_a_connector_reads_acts_of_administration(client: Client, pool: Pool) -> None:
    project = await admin.create_project(writer(pool), "Research", ids=IDS)
    async with await as_key(client, pool, "all", scope="audit") as auditor:
        key_id, _ = await make_key(pool, "Research", scope="read")
        await admin.revoke_key(writer(pool), key_id)
        thread = await thread_with(client, "Secret words")
        await client.delete(f"/threads/{thread['id']}")
        await settle(auditor, thread["id"], 3)
        await settle(auditor, key_id, 2)
        key = auditor.headers["Authorization"].removeprefix("Bearer ")
        async with AsyncOpenAI(base_url=client.base_url, api_key=key, admin_api_key=key) as sdk:
            entries = [entry async for entry in sdk.admin.organization.audit_logs.list(limit=2)]
            [created] = (await sdk.admin.organization.audit_logs.list(resource_ids=[project])).data
            deleted = (await sdk.admin.organization.audit_logs.list(event_types=["resource.deleted"])).data
            by_person = (await sdk.admin.organization.audit_logs.list(actor_emails=[admin.actor().account])).data
            later = (await sdk.admin.organization.audit_logs.list(effective_at={"gt": 4_000_000_000})).data
    assert [int(entry.id.removeprefix("audit_log-")) for entry in entries] == sorted(
        (int(entry.id.removeprefix("audit_log-")) for entry in entries), reverse=True
    )
    types = {entry.type for entry in entries}
    assert {
        "api_key.created",
        "api_key.deleted",
        "project.created",
        "resource.deleted",
        "organization.updated",
    } <= types
    assert created.type == "project.created"
    assert created.actor is not None
    assert created.actor.session is not None
    assert created.actor.session.user is not None
    assert created.actor.session.user.email == admin.actor().account
    assert created.project_created is not None
    assert created.project_created.id == project
    assert [entry.actor.api_key.id for entry in deleted if entry.actor and entry.actor.api_key] == ["default"]
    assert {"project.created", "api_key.created", "api_key.deleted"} == {entry.type for entry in by_person}
    assert later == []
    assert "Secret words" not in str(entries)


async def test_a_key_reads_its_own_project(client: Client, pool: Pool) -> None:
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with await as_key(client, pool, "Theirs") as them:
        thread = await thread_with(client, "Hi")
        await client.delete(f"/threads/{thread['id']}")
        await settle(client, thread["id"], 3)
        found: Any = await them.get("/organization/audit_logs")
        assert {entry["type"] for entry in found["data"]} <= {"api_key.created", "project.created"}
        assert (await them.get("/organization/audit_logs", project_ids="proj_default"))["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"after": "key_1"}, "after"),
        ({"before": "audit_log-x"}, "before"),
        ({"effective_at[gte]": "now"}, "effective_at[gte]"),
        ({"event_types": "everything"}, "event_types"),
        ({"event_types": "api_key.destroyed"}, "event_types"),
        ({"actor_ids": "\x00"}, "actor_ids"),
    ],
)
async def test_wrong_queries_are_refused(client: Client, query: dict[str, str], param: str) -> None:
    answer = await client.call("GET", "/organization/audit_logs", headers=None, **query)
    assert (answer.status, answer.error[2]) == (400, param)


def test_the_types_are_those_of_the_original() -> None:
    hints = get_type_hints(AuditLogListParams)["event_types"]
    assert set(get_args(get_args(hints)[0])) == ORIGINAL_TYPES
    assert TYPES.keys() <= ORIGINAL_TYPES


async def test_a_type_that_never_happens_here_has_no_entries(client: Client) -> None:
    assert (await client.get("/organization/audit_logs", event_types="certificate.created"))["data"] == []
