"""Files that are in use: by assistants, threads, messages, runs and prompts, in both versions of the API."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from events.references import files_store_id, own_store_id, with_stores
from service.runs.images import PIECE
from tests.client import V1, Client
from tests.http.files import upload
from tests.scripted import ScriptedServer, says

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
RETRIEVAL = {"type": "retrieval"}


def code(*ids: str) -> dict[str, Any]:
    return {"code_interpreter": {"file_ids": list(ids)}}


def user(content: Any = "Hi", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def attached(file_id: str, *tools: str) -> dict[str, Any]:
    return {"file_id": file_id, "tools": [{"type": tool} for tool in tools or ("code_interpreter",)]}


@pytest.fixture
def old(client: Client) -> Client:
    """A client of the same server that speaks v1."""
    again = Client(client.base_url, beta=V1)
    again._session = client.session
    return again


async def test_tool_resources_name_files(client: Client) -> None:
    one, two = [(await upload(client))["id"] for _ in range(2)]
    assistant = await client.post("/assistants", {"model": "gpt-4o", "tool_resources": code(one, two, one)})
    assert assistant["tool_resources"] == code(one, two)
    thread = await client.post("/threads", {"tool_resources": code(one), "messages": [user()]})
    assert thread["tool_resources"] == code(one)
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    assert run["tool_resources"] == code(one, two)
    changed = await client.post(f"/assistants/{assistant['id']}", {"tool_resources": code(two)})
    assert changed["tool_resources"] == code(two)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/assistants", {"model": "gpt-4o", "tool_resources": code("file-x")}),
        ("/assistants/{assistant}", {"tool_resources": code("file-x")}),
        ("/threads", {"tool_resources": code("file-x")}),
        ("/threads", {"messages": [user(attachments=[attached("file-x")])]}),
        ("/threads/{thread}", {"tool_resources": code("file-x")}),
        ("/threads/{thread}/messages", user(attachments=[attached("file-x", "file_search")])),
        ("/threads/{thread}/messages", user([{"type": "image_file", "image_file": {"file_id": "file-x"}}])),
        (
            "/threads/{thread}/runs",
            {"assistant_id": "{assistant}", "additional_messages": [user(attachments=[attached("file-x")])]},
        ),
        ("/threads/runs", {"assistant_id": "{assistant}", "tool_resources": code("file-x")}),
        ("/threads/runs", {"assistant_id": "{assistant}", "thread": {"tool_resources": code("file-x")}}),
    ],
)
async def test_a_file_must_be_there_and_fit(client: Client, path: str, body: dict[str, Any]) -> None:
    ids = {"{assistant}": (await client.post("/assistants", {"model": "gpt-4o"}))["id"]}
    ids["{thread}"] = (await client.post("/threads"))["id"]
    text = orjson.dumps(body).decode()
    for name, id in ids.items():
        path, text = path.replace(name, id), text.replace(name, id)
    answer = await client.call("POST", path, orjson.loads(text))
    assert answer.error == (404, "No such File object: file-x", "id", None)
    unfit = (await upload(client, purpose="batch"))["id"]
    refused = await client.call("POST", path, orjson.loads(text.replace("file-x", unfit)))
    assert (refused.error[0], refused.error[3]) == (400, "invalid_file_purpose")
    assert (await client.get(f"/threads/{ids['{thread}']}/messages"))["data"] == []


async def test_attachments_are_the_threads_files(client: Client) -> None:
    one, two, three = [(await upload(client))["id"] for _ in range(3)]
    thread = await client.post(
        "/threads", {"tool_resources": code(one), "messages": [user(attachments=[attached(two)])]}
    )
    assert thread["tool_resources"] == code(one, two)
    path = f"/threads/{thread['id']}"
    both = [attached(three, "file_search"), attached(two, "code_interpreter", "file_search")]
    message = await client.post(path + "/messages", user(attachments=both))
    assert message["attachments"] == both
    searched = with_stores({}, [own_store_id(thread["id"])])
    assert (await client.get(path))["tool_resources"] == code(one, two) | searched
    assistant = await client.post("/assistants", {"model": "gpt-4o"})
    asked = {"assistant_id": assistant["id"], "additional_messages": [user(attachments=[attached(three)])]}
    await client.settled(await client.post(path + "/runs", asked))
    assert (await client.get(path))["tool_resources"] == code(one, two, three) | searched


async def test_a_deleted_file_is_deleted_everywhere(client: Client, old: Client) -> None:
    one, two = [(await upload(client))["id"] for _ in range(2)]
    assistant = await client.post("/assistants", {"model": "gpt-4o", "tool_resources": code(one, two)})
    thread = await client.post("/threads", {"messages": [user(attachments=[attached(one), attached(two)])]})
    await client.delete(f"/files/{one}")
    assert (await client.get(f"/assistants/{assistant['id']}"))["tool_resources"] == code(two)
    assert (await client.get("/assistants"))["data"][0]["tool_resources"] == code(two)
    assert (await client.get(f"/threads/{thread['id']}"))["tool_resources"] == code(two)
    [message] = (await client.get(f"/threads/{thread['id']}/messages"))["data"]
    assert message["attachments"] == [attached(two)]
    assert await client.get(f"/threads/{thread['id']}/messages/{message['id']}") == message
    assert (await old.get(f"/assistants/{assistant['id']}"))["file_ids"] == [two]


async def test_images_reach_models_that_see(client: Client, model: ScriptedServer) -> None:
    picture = PNG + b"x" * (PIECE + 1)  # encoded in two steps
    image = (await upload(client, picture, "vision"))["id"]
    gone = (await upload(client, PNG, "vision"))["id"]
    no_image = (await upload(client, b"text"))["id"]
    parts = [
        {"type": "text", "text": "What is this?"},
        *({"type": "image_file", "image_file": {"file_id": id, "detail": "low"}} for id in (image, gone, no_image)),
    ]
    thread = await client.post(
        "/threads", {"messages": [user(parts), user([{"type": "image_file", "image_file": {"file_id": gone}}])]}
    )
    await client.delete(f"/files/{gone}")
    for name, shown in (("gpt-4o", True), ("gpt-3.5-turbo", False)):
        model.script(says("Pixels."))
        assistant = await client.post("/assistants", {"model": name})
        await client.settled(await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}))
        sent = (await model.next_request())["messages"]
        url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        if shown:
            assert sent == [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
                    ],
                }
            ]
        else:
            assert "cannot see images" in str(sent)
            assert url not in str(sent)


@pytest.mark.slow
async def test_v1_file_ids(client: Client, old: Client) -> None:
    ids = [(await upload(client))["id"] for _ in range(21)]
    assistant = await old.post("/assistants", {"model": "gpt-4o", "tools": [RETRIEVAL], "file_ids": ids[:2]})
    assert assistant["file_ids"] == ids[:2]
    searched = with_stores({}, [files_store_id(assistant["id"])])
    assert (await client.get(f"/assistants/{assistant['id']}"))["tool_resources"] == code(*ids[:2]) | searched
    assistant = await old.post(f"/assistants/{assistant['id']}", {"file_ids": ids[2:3]})
    assert assistant["file_ids"] == ids[2:3]
    assert (await old.post(f"/assistants/{assistant['id']}", {"name": "N"}))["file_ids"] == ids[2:3]
    thread = await old.post("/threads", {"messages": [user(file_ids=ids[:2])]})
    path = f"/threads/{thread['id']}"
    message = await old.post(path + "/messages", user(file_ids=ids[:10]))
    assert message["file_ids"] == ids[:10]
    as_v2 = await client.get(f"{path}/messages/{message['id']}")
    assert as_v2["attachments"] == [attached(id, "file_search", "code_interpreter") for id in ids[:10]]
    searched = with_stores({}, [own_store_id(thread["id"])])
    assert (await client.get(path))["tool_resources"] == code(*ids[:10]) | searched
    run = await old.post(path + "/runs", {"assistant_id": assistant["id"]})
    assert run["file_ids"] == ids[2:3]
    too_many = await old.call("POST", path + "/messages", user(file_ids=ids[:11]))
    assert (too_many.error[0], too_many.error[3]) == (400, "array_above_max_length")
    too_many = await old.call("POST", "/assistants", {"model": "gpt-4o", "file_ids": ids})
    assert (too_many.error[0], too_many.error[3]) == (400, "array_above_max_length")
    missing = await old.call("POST", "/assistants", {"model": "gpt-4o", "file_ids": ["file-x"]})
    assert missing.error == (404, "No such File object: file-x", "id", None)


async def test_each_version_refuses_what_is_the_others(client: Client, old: Client) -> None:
    file_id = (await upload(client))["id"]
    thread = await client.post("/threads")
    path = f"/threads/{thread['id']}/messages"
    for who, body in ((old, user(attachments=[attached(file_id)])), (client, user(file_ids=[file_id]))):
        assert (await who.call("POST", path, body)).error[3] == "unknown_parameter"
    refused = await client.call("POST", "/assistants", {"model": "gpt-4o", "file_ids": [file_id]})
    assert refused.error[3] == "unknown_parameter"


@pytest.mark.slow
async def test_files_of_an_assistant(client: Client, old: Client) -> None:
    ids = [(await upload(client))["id"] for _ in range(21)]
    assistant = await old.post("/assistants", {"model": "gpt-4o", "file_ids": ids[:1]})
    path = f"/assistants/{assistant['id']}/files"
    for file_id in ids[1:20]:
        made = await old.post(path, {"file_id": file_id})
    assert made == {
        "id": ids[19],
        "object": "assistant.file",
        "created_at": assistant["created_at"],
        "assistant_id": assistant["id"],
    }
    assert await old.post(path, {"file_id": ids[0]}) != made
    too_many = await old.call("POST", path, {"file_id": ids[20]})
    assert (too_many.error[0], too_many.error[2]) == (400, "file_id")
    assert await old.get(f"{path}/{ids[19]}") == made
    page = await old.get(path, limit="2")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([ids[19], ids[18]], True)
    page = await old.get(path, limit="3", order="asc", after=ids[17])
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[18:20], False)
    page = await old.get(path, limit="2", order="asc", before=ids[17])
    assert [one["id"] for one in page["data"]] == ids[15:17]
    deleted = await old.delete(f"{path}/{ids[0]}")
    assert deleted == {"id": ids[0], "object": "assistant.file.deleted", "deleted": True}
    for method in ("GET", "DELETE"):
        assert (await old.call(method, f"{path}/{ids[0]}")).error[0] == 404
    assert (await client.get(f"/files/{ids[0]}"))["id"] == ids[0]
    await client.delete(f"/files/{ids[19]}")
    assert (await old.call("GET", f"{path}/{ids[19]}")).error[0] == 404
    assert (await old.get(path))["first_id"] == ids[18]
    assert (await client.call("GET", path)).error[3] == "invalid_beta"
    assert (await old.call("GET", "/assistants/asst_x/files")).error[0] == 404


async def test_files_of_a_message(client: Client, old: Client) -> None:
    ids = [(await upload(client))["id"] for _ in range(3)]
    thread = await old.post("/threads")
    path = f"/threads/{thread['id']}/messages"
    message = await old.post(path, user(file_ids=ids))
    made = await old.get(f"{path}/{message['id']}/files/{ids[0]}")
    assert made == {
        "id": ids[0],
        "object": "thread.message.file",
        "created_at": message["created_at"],
        "message_id": message["id"],
    }
    page = await old.get(f"{path}/{message['id']}/files")
    assert [one["id"] for one in page["data"]] == ids[::-1]
    assert (await old.call("GET", f"{path}/{message['id']}/files/file-x")).error[0] == 404
    assert (await old.call("GET", f"{path}/msg_x/files")).error[0] == 404
