"""The versions of an assistant, and the restoring of an earlier one."""

from __future__ import annotations

from typing import Any

from service.database import Pool
from tests.client import Client
from tests.http.files import upload
from tests.http.helpers import assistant_with
from tests.http.keys import as_key

SETTINGS = {"name": "Poet", "instructions": "Rhyme.", "temperature": 0.5, "metadata": {"team": "a"}}


async def versions(client: Client, assistant_id: str, **query: str) -> Any:
    return await client.get(f"/assistants/{assistant_id}/versions", **query)


async def test_changes_are_listed_newest_first(client: Client) -> None:
    assistant = await assistant_with(client, **SETTINGS)
    path = f"/assistants/{assistant['id']}"
    await client.post(path, {"name": "Critic", "metadata": {}})
    await client.post(path, {"temperature": 1.0})
    found = await versions(client, assistant["id"])
    assert [(entry["version"], entry["change"], sorted(entry["changed"])) for entry in found["data"]] == [
        (3, "modified", ["temperature"]),
        (2, "modified", ["metadata", "name"]),
        (1, "created", []),
    ]
    assert {entry["actor"] for entry in found["data"]} == {"key:default"}
    assert (found["last_version"], found["has_more"]) == (1, False)
    first = await versions(client, assistant["id"], limit="2")
    assert ([entry["version"] for entry in first["data"]], first["has_more"]) == ([3, 2], True)
    rest = await versions(client, assistant["id"], limit="2", before=str(first["last_version"]))
    assert ([entry["version"] for entry in rest["data"]], rest["has_more"]) == ([1], False)
    assert (await versions(client, assistant["id"], before="1"))["data"] == []


async def test_an_earlier_version_is_restored(client: Client) -> None:
    tools = [{"type": "code_interpreter"}]
    assistant = await assistant_with(client, **SETTINGS, tools=tools)
    path = f"/assistants/{assistant['id']}"
    changes: dict[str, Any] = {
        "name": None,
        "instructions": "Prose.",
        "temperature": 1.0,
        "tools": [],
        "metadata": {"b": "c"},
    }
    assert await client.post(path, changes) != assistant
    restored = await client.call("POST", f"{path}/restore", {"version": 1}, headers={"Idempotency-Key": "r1"})
    assert restored.body == assistant == await client.get(path)
    again = await client.call("POST", f"{path}/restore", {"version": 1}, headers={"Idempotency-Key": "r1"})
    assert again.body == assistant
    [newest, *_] = (await versions(client, assistant["id"]))["data"]
    assert (newest["version"], newest["restored_from"]) == (3, 1)
    assert [one["id"] for one in (await client.get("/assistants", **{"metadata[team]": "a"}))["data"]] == [
        assistant["id"]
    ]
    await client.post(f"{path}/restore", {"version": 2})
    assert (await client.get(path))["instructions"] == "Prose."


async def test_deleted_files_are_not_restored(client: Client) -> None:
    kept, deleted = [(await upload(client))["id"] for _ in range(2)]
    resources = {"code_interpreter": {"file_ids": [kept, deleted]}}
    assistant = await assistant_with(client, tools=[{"type": "code_interpreter"}], tool_resources=resources)
    path = f"/assistants/{assistant['id']}"
    await client.post(path, {"tool_resources": {"code_interpreter": {"file_ids": []}}})
    await client.delete(f"/files/{deleted}")
    restored = await client.post(f"{path}/restore", {"version": 1})
    assert restored["tool_resources"]["code_interpreter"]["file_ids"] == [kept]


async def test_refusals(client: Client, pool: Pool) -> None:
    assistant = await assistant_with(client)
    path = f"/assistants/{assistant['id']}"
    for body, param in (({}, "version"), ({"version": 0}, "version"), ({"version": "1"}, "version")):
        status, _, named, _ = (await client.call("POST", f"{path}/restore", body)).error
        assert (status, named) == (400, param)
    assert (await client.call("POST", f"{path}/restore", {"version": 7})).status == 400
    assert (await client.call("GET", f"{path}/versions", headers=None, limit="0")).status == 400
    assert (await client.call("GET", "/assistants/asst_none/versions")).status == 404
    async with await as_key(client, pool, scope="read") as reader:
        assert (await versions(reader, assistant["id"]))["data"] != []
        assert (await reader.call("POST", f"{path}/restore", {"version": 1})).status == 403
    await client.delete(path)
    assert (await client.call("GET", f"{path}/versions")).status == 404
    assert (await client.call("POST", f"{path}/restore", {"version": 1})).status == 404
    async with await as_key(client, pool, scope="audit:content") as auditor:
        assert [entry["change"] for entry in (await versions(auditor, assistant["id"]))["data"]] == [
            "deleted",
            "created",
        ]
