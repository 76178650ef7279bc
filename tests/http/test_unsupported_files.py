"""File types that cannot be searched are refused when a file is attached, and nothing is written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from events.references import files_store_id, own_store_id
from tests.client import V1, Client
from tests.http.files import upload
from tests.http.stores import file_named, files_of, settled
from tests.scripted import ScriptedServer, says

REFUSAL = (400, "Files with extensions [.png] are not supported for retrieval.", None, "unsupported_file")
SEARCH = [{"type": "file_search"}]
BOTH = [*SEARCH, {"type": "code_interpreter"}]
RETRIEVAL = [{"type": "retrieval"}]


@pytest.fixture
def old(client: Client) -> Client:
    """A client of the same server that speaks v1."""
    again = Client(client.base_url, beta=V1)
    again._session = client.session
    return again


def message(*tools: dict[str, str]) -> dict[str, Any]:
    attachments = [{"file_id": "{good}", "tools": SEARCH}, {"file_id": "{png}", "tools": list(tools)}]
    return {"role": "user", "content": "Look", "attachments": attachments}


def with_new_store(*file_ids: str) -> dict[str, Any]:
    return {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": list(file_ids)}]}}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/vector_stores", {"file_ids": ["{good}", "{png}"]}),
        ("/vector_stores/{store}/files", {"file_id": "{png}"}),
        ("/vector_stores/{store}/file_batches", {"file_ids": ["{good}", "{png}"]}),
        ("/vector_stores/{store}/file_batches", {"files": [{"file_id": "{good}"}, {"file_id": "{png}"}]}),
        ("/assistants", {"model": "gpt-4o", **with_new_store("{good}", "{png}")}),
        ("/assistants/{assistant}", with_new_store("{png}")),
        ("/threads", with_new_store("{png}")),
        ("/threads", {"messages": [message(*SEARCH)], **with_new_store("{good}")}),
        ("/threads/{thread}", with_new_store("{png}")),
        ("/threads/{thread}/messages", message(*SEARCH)),
        ("/threads/{thread}/messages", message(*BOTH)),
        ("/threads/{thread}/runs", {"assistant_id": "{assistant}", "additional_messages": [message(*BOTH)]}),
        ("/threads/runs", {"assistant_id": "{assistant}", "thread": {"messages": [message(*SEARCH)]}}),
        ("/threads/runs", {"assistant_id": "{assistant}", "thread": with_new_store("{png}")}),
    ],
)
async def test_a_type_that_cannot_be_searched_is_refused(client: Client, path: str, body: dict[str, Any]) -> None:
    ids = {
        "{png}": await file_named(client, "Photo.PNG"),
        "{good}": await file_named(client, "a.txt"),
        "{store}": (await client.post("/vector_stores", {}))["id"],
        "{assistant}": (await client.post("/assistants", {"model": "gpt-4o"}))["id"],
        "{thread}": (await client.post("/threads"))["id"],
    }
    text = orjson.dumps(body).decode()
    for name, id in ids.items():
        path, text = path.replace(name, id), text.replace(name, id)
    answer = await client.call("POST", path, orjson.loads(text))
    assert answer.error == REFUSAL
    assert [store["id"] for store in (await client.get("/vector_stores"))["data"]] == [ids["{store}"]]
    assert await files_of(client, ids["{store}"]) == {}
    assert (await client.get(f"/threads/{ids['{thread}']}/messages"))["data"] == []


@pytest.mark.parametrize(
    ("names", "extensions"),
    [
        (["a.zip", "b.txt", "c.MP3", "d.zip"], ".zip, .mp3"),
        (["Makefile"], "none"),
        (["ends with a dot."], "none"),
        (["report.docx.bak"], ".bak"),
    ],
)
async def test_the_refusal_names_each_extension_once(client: Client, names: list[str], extensions: str) -> None:
    file_ids = [await file_named(client, name) for name in names]
    answer = await client.call("POST", "/vector_stores", {"file_ids": file_ids})
    assert answer.error[1] == f"Files with extensions [{extensions}] are not supported for retrieval."


async def test_other_tools_take_every_type(client: Client) -> None:
    png = await file_named(client, "a.png")
    tools = [{"type": "code_interpreter"}]
    attached = {"role": "user", "content": "Look", "attachments": [{"file_id": png, "tools": tools}]}
    thread = await client.post("/threads", {"messages": [attached]})
    assert thread["tool_resources"] == {"code_interpreter": {"file_ids": [png]}}
    await client.post(f"/threads/{thread['id']}/messages", attached)
    resources = {"code_interpreter": {"file_ids": [png]}}
    made = await client.post("/assistants", {"model": "gpt-4o", "tools": tools, "tool_resources": resources})
    assert made["tool_resources"] == resources


async def test_a_file_of_another_purpose_is_refused_for_its_purpose(client: Client) -> None:
    unfit = (await upload(client, purpose="batch", filename='filename="a.png"'))["id"]
    answer = await client.call("POST", "/vector_stores", {"file_ids": [unfit]})
    assert answer.error[3] == "invalid_file_purpose"


async def test_v1_files_of_an_assistant_with_retrieval(client: Client, old: Client) -> None:
    good, png = await file_named(client, "a.txt"), await file_named(client, "a.png")
    body = {"model": "gpt-4o", "tools": RETRIEVAL, "file_ids": [good, png]}
    assert (await old.call("POST", "/assistants", body)).error == REFUSAL
    assert (await client.get("/vector_stores"))["data"] == []
    assistant = await old.post("/assistants", {"model": "gpt-4o", "tools": RETRIEVAL, "file_ids": [good]})
    path = f"/assistants/{assistant['id']}"
    assert (await old.call("POST", path, {"file_ids": [good, png]})).error == REFUSAL
    assert (await old.call("POST", f"{path}/files", {"file_id": png})).error == REFUSAL
    assert (await old.get(path))["file_ids"] == [good]
    assert list(await files_of(client, files_store_id(assistant["id"]))) == [good]
    plain = await old.post("/assistants", {"model": "gpt-4o", "file_ids": [png]})
    assert plain["file_ids"] == [png]
    path = f"/assistants/{plain['id']}"
    assert (await old.call("POST", path, {"tools": RETRIEVAL})).error == REFUSAL
    thread = await old.post("/threads")
    run = {"assistant_id": plain["id"], "tools": RETRIEVAL}
    assert (await old.call("POST", f"/threads/{thread['id']}/runs", run)).error == REFUSAL


async def test_v1_files_of_a_message_are_for_the_tools_that_can_read_them(
    client: Client, old: Client, model: ScriptedServer
) -> None:
    good, png = await file_named(client, "a.txt"), await file_named(client, "a.png")
    attached = {"role": "user", "content": "Look", "file_ids": [good, png]}
    thread = await old.post("/threads", {"messages": [attached]})
    path = f"/threads/{thread['id']}"
    assert (await old.post(f"{path}/messages", attached))["file_ids"] == [good, png]
    store = own_store_id(thread["id"])
    await settled(client, store)
    assert list(await files_of(client, store)) == [good]
    only = await old.post("/threads", {"messages": [{**attached, "file_ids": [png]}]})
    model.script(says("A picture."))
    assistant = await old.post("/assistants", {"model": "gpt-4o", "tools": RETRIEVAL})
    run = await old.post(f"/threads/{only['id']}/runs", {"assistant_id": assistant["id"]})
    assert (await client.settled(run))["status"] == "completed"
