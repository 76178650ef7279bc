"""The files of vector stores and their batches, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from projections.rebuild import verify
from service.database import Pool
from service.http import vector_store_files
from tests.client import Client
from tests.conftest import StartServer
from tests.fake_search_engine import WAIT_S, FakeSearchEngine
from tests.http.files import download, upload
from tests.http.stores import POLL, file_named, files_of, settled, store_with

AUTO = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
SMALL = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}


async def until(client: Client, path: str, status: str) -> Any:
    async with asyncio.timeout(WAIT_S):
        while (found := await client.get(path))["status"] != status:
            await asyncio.sleep(POLL)
        return found


async def test_the_life_of_a_file_in_a_store(client: Client, search_engine: FakeSearchEngine, pool: Pool) -> None:
    store, file_id = await client.post("/vector_stores", {}), await file_named(client, "slow.txt")
    files = f"/vector_stores/{store['id']}/files"
    made = await client.post(files, {"file_id": file_id})
    assert made == {
        "id": file_id,
        "object": "vector_store.file",
        "usage_bytes": 0,
        "created_at": made["created_at"],
        "vector_store_id": store["id"],
        "status": "in_progress",
        "last_error": None,
        "chunking_strategy": AUTO,
        "attributes": {},
    }
    search_engine.release()
    done = await until(client, f"{files}/{file_id}", "completed")
    assert done == {**made, "status": "completed", "usage_bytes": 10}
    told = {"author": "O'Hara", "year": 2024, "draft": False, "weight": 0.5}
    changed = await client.post(f"{files}/{file_id}", {"attributes": told})
    assert changed == {**done, "attributes": told}
    assert (await client.post(f"{files}/{file_id}", {"attributes": None}))["attributes"] == {}
    gone = await client.delete(f"{files}/{file_id}")
    assert gone == {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", ""), ("GET", "/content")):
        body: Any = {"attributes": {}} if method == "POST" else None
        answer = await client.call(method, f"{files}/{file_id}{path}", body)
        message = f"No file found with id '{file_id}' in vector store '{store['id']}'."
        assert answer.error == (404, message, None, None), (method, path)
    assert (await client.get(f"/vector_stores/{store['id']}"))["file_counts"]["total"] == 0
    assert (await download(client, file_id))[1] == b"Some text.", "the File itself stays"
    async with pool.acquire() as db:
        assert await verify(db, store["id"]) == []


async def test_failures_say_why(client: Client) -> None:
    store = await store_with(client, "bad.pdf", "odd.txt")
    assert store["status"] == "completed"
    errors = {file["last_error"]["code"] for file in (await files_of(client, store["id"])).values()}
    assert errors == {"invalid_file", "unsupported_file"}


async def test_files_are_listed(client: Client) -> None:
    store = await store_with(client, "a.txt", "b.txt", "c.txt", "bad.txt")
    ids = list(await files_of(client, store["id"], order="asc"))
    path = f"/vector_stores/{store['id']}/files"
    assert list(await files_of(client, store["id"])) == ids[::-1], "newest first"
    page = await client.get(path, limit="2", order="asc", after=ids[0])
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (ids[1:3], True)
    await client.delete(f"{path}/{ids[1]}")
    page = await client.get(path, order="asc", after=ids[1])
    assert [one["id"] for one in page["data"]] == ids[2:], "a removed file keeps its place"
    for status, found in (
        ("completed", [ids[2], ids[0]]),
        ("failed", [ids[3]]),
        ("in_progress", []),
        ("cancelled", []),
    ):
        assert list(await files_of(client, store["id"], filter=status)) == found
    answer = await client.call("GET", path, None, filter="done")
    assert answer.error[0::2] == (400, "filter")
    assert (await client.call("GET", path, None, after="file-no")).status == 404


async def test_chunking_and_attributes(client: Client) -> None:
    store, file_id = await client.post("/vector_stores", {}), await file_named(client, "a.txt")
    path = f"/vector_stores/{store['id']}/files"
    made = await client.post(path, {"file_id": file_id, "chunking_strategy": SMALL, "attributes": {"k": "v"}})
    assert (made["chunking_strategy"], made["attributes"]) == (SMALL, {"k": "v"})
    again = await client.post(path, {"file_id": file_id, "chunking_strategy": {"type": "auto"}})
    assert (again["chunking_strategy"], again["attributes"]) == (AUTO, {}), "it is indexed anew"
    await settled(client, store["id"])
    same = await client.post(path, {"file_id": file_id})
    assert same["status"] == "completed", "nothing to do"


def static(size: Any, overlap: Any) -> dict[str, Any]:
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"chunking_strategy": static(99, 0)}, "chunking_strategy.static.max_chunk_size_tokens", None),
        ({"chunking_strategy": static(4097, 0)}, "chunking_strategy.static.max_chunk_size_tokens", None),
        ({"chunking_strategy": static(101, 51)}, "chunking_strategy.static", "invalid_value"),
        ({"chunking_strategy": static(100, -1)}, "chunking_strategy.static.chunk_overlap_tokens", None),
        ({"chunking_strategy": static("100", 0)}, "chunking_strategy.static.max_chunk_size_tokens", "invalid_type"),
        ({"attributes": {str(n): n for n in range(17)}}, "attributes", "object_above_max_properties"),
        ({"attributes": {"k" * 65: 1}}, "attributes." + "k" * 65, "string_above_max_length"),
        ({"attributes": {"k": "v" * 513}}, "attributes.k", "string_above_max_length"),
        ({"attributes": {"k": None}}, "attributes.k", "invalid_type"),
        ({"attributes": {"k": [1]}}, "attributes.k", "invalid_type"),
        ({"attributes": {"k\0": 1}}, "attributes", "invalid_value"),
        ({"unknown": 1}, "unknown", "unknown_parameter"),
    ],
)
async def test_bad_files(client: Client, more: Any, param: str, code: str | None) -> None:
    store, file_id = await client.post("/vector_stores", {}), await file_named(client, "a.txt")
    answer = await client.call("POST", f"/vector_stores/{store['id']}/files", {"file_id": file_id, **more})
    error = answer.body["error"]
    assert (answer.status, error["param"]) == (400, param)
    assert code is None or error["code"] == code
    assert await files_of(client, store["id"]) == {}


async def test_what_is_not_there(client: Client) -> None:
    store, file_id = await client.post("/vector_stores", {}), await file_named(client, "a.txt")
    answer = await client.call("POST", f"/vector_stores/{store['id']}/files", {"file_id": "file-no"})
    assert answer.error == (404, "No such File object: file-no", "id", None)
    answer = await client.call("POST", "/vector_stores", {"file_ids": [file_id, "file-no"]})
    assert answer.error == (404, "No such File object: file-no", "id", None)
    for path in ("/files", "/file_batches"):
        body = {"file_id": file_id} if path == "/files" else {"file_ids": [file_id]}
        answer = await client.call("POST", f"/vector_stores/vs_no{path}", body)
        assert answer.error == (404, "No vector store found with id 'vs_no'.", None, None)
    for path in ("", "/files", "/cancel"):
        method = "POST" if path == "/cancel" else "GET"
        answer = await client.call(method, f"/vector_stores/{store['id']}/file_batches/vsfb_no{path}")
        assert answer.error == (404, "No vector store file batch found with id 'vsfb_no'.", None, None)
    assert len((await client.get("/vector_stores"))["data"]) == 1


async def test_deleting_the_file_takes_it_out_everywhere(client: Client, search_engine: FakeSearchEngine) -> None:
    """The same holds while the file is being indexed."""
    stores = [await client.post("/vector_stores", {}) for _ in range(2)]
    done, slow = await file_named(client, "a.txt"), await file_named(client, "slow.txt")
    for store in stores:
        for file_id in (done, slow):
            await client.post(f"/vector_stores/{store['id']}/files", {"file_id": file_id})
        await until(client, f"/vector_stores/{store['id']}/files/{done}", "completed")
    await client.delete(f"/files/{slow}")
    await client.delete(f"/files/{done}")
    for store in stores:
        assert await files_of(client, store["id"]) == {}
        shown = await client.get(f"/vector_stores/{store['id']}")
        assert (shown["status"], shown["file_counts"]["total"], shown["usage_bytes"]) == ("completed", 0, 0)
    search_engine.release()
    async with asyncio.timeout(WAIT_S):
        while search_engine.chunks:
            await asyncio.sleep(POLL)


async def test_content_in_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store_files, "CONTENT_PAGE", 2)
    file_id = await file_named(client, "a.txt", "x" * 100 + "y" * 100 + "z")
    store = await client.post("/vector_stores", {"file_ids": [file_id]})
    await settled(client, store["id"])
    path = f"/vector_stores/{store['id']}/files/{file_id}/content"
    first = await client.get(path)
    assert [part["text"] for part in first["data"]] == ["x" * 100, "y" * 100]
    assert first["has_more"] is True
    second = await client.get(path, page=first["next_page"])
    assert second == {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": "z"}],
        "has_more": False,
        "next_page": None,
    }
    assert (await client.call("GET", path, None, page="x")).status == 400


async def test_content_of_a_file_that_is_not_indexed(client: Client) -> None:
    store = await store_with(client, "bad.txt")
    [file_id] = await files_of(client, store["id"])
    answer = await client.call("GET", f"/vector_stores/{store['id']}/files/{file_id}/content")
    assert answer.error[:2] == (400, f"File {file_id} is failed: its content can be read once it is completed.")


async def test_a_batch(client: Client, search_engine: FakeSearchEngine) -> None:
    store = await store_with(client, "first.txt")
    ids = [await file_named(client, name) for name in ("good.txt", "slow.txt", "bad.txt")]
    path = f"/vector_stores/{store['id']}/file_batches"
    made = await client.post(path, {"file_ids": [*ids, ids[0]], "chunking_strategy": SMALL, "attributes": {"k": "v"}})
    assert made == {
        "id": made["id"],
        "object": "vector_store.file_batch",
        "created_at": made["created_at"],
        "status": "in_progress",
        "vector_store_id": store["id"],
        "file_counts": {"in_progress": 3, "completed": 0, "failed": 0, "cancelled": 0, "total": 3},
    }
    files = (await client.get(f"{path}/{made['id']}/files", order="asc"))["data"]
    assert [file["id"] for file in files] == ids
    assert all((file["chunking_strategy"], file["attributes"]) == (SMALL, {"k": "v"}) for file in files)
    search_engine.release()
    done = await until(client, f"{path}/{made['id']}", "completed")
    assert done["file_counts"] == {"in_progress": 0, "completed": 2, "failed": 1, "cancelled": 0, "total": 3}
    failed = await client.get(f"{path}/{made['id']}/files", filter="failed")
    assert [file["id"] for file in failed["data"]] == [ids[2]]
    page = await client.get(f"{path}/{made['id']}/files", limit="1", order="asc", after=ids[0])
    assert ([file["id"] for file in page["data"]], page["has_more"]) == ([ids[1]], True)


async def test_a_batch_of_files_each_its_own_way(client: Client) -> None:
    store = await client.post("/vector_stores", {})
    ids = [await file_named(client, name) for name in ("a.txt", "b.txt")]
    path = f"/vector_stores/{store['id']}/file_batches"
    own = [{"file_id": ids[0], "attributes": {"k": 1}, "chunking_strategy": SMALL}, {"file_id": ids[1]}]
    await client.post(path, {"files": own, "attributes": {"of": "all"}})
    files = await files_of(client, store["id"])
    assert (files[ids[0]]["attributes"], files[ids[0]]["chunking_strategy"]) == ({"k": 1}, SMALL)
    assert (files[ids[1]]["attributes"], files[ids[1]]["chunking_strategy"]) == ({}, AUTO)
    bodies: list[Any] = [{}, {"file_ids": ids, "files": own}, {"file_ids": []}, {"file_ids": ["f"] * 2001}]
    for body in bodies:
        assert (await client.call("POST", path, body)).status == 400


async def test_a_batch_is_cancelled(client: Client, search_engine: FakeSearchEngine) -> None:
    store = await client.post("/vector_stores", {})
    ids = [await file_named(client, f"slow-{n}.txt") for n in range(3)]
    path = f"/vector_stores/{store['id']}/file_batches"
    made = await client.post(path, {"file_ids": ids})
    await search_engine.until_started(2)
    cancelled = await client.post(f"{path}/{made['id']}/cancel")
    assert cancelled["status"] == "cancelled"
    assert cancelled["file_counts"] == {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 3, "total": 3}
    assert {file["status"] for file in (await files_of(client, store["id"])).values()} == {"cancelled"}
    assert (await client.post(f"{path}/{made['id']}/cancel"))["status"] == "cancelled", "twice is fine"
    assert (await settled(client, store["id"]))["status"] == "completed"


async def test_a_batch_all_of_whose_files_fail_has_failed(client: Client) -> None:
    store, file_id = await client.post("/vector_stores", {}), await file_named(client, "bad.txt")
    path = f"/vector_stores/{store['id']}/file_batches"
    made = await client.post(path, {"file_ids": [file_id]})
    await until(client, f"{path}/{made['id']}", "failed")


async def test_a_store_holds_so_many(start_server: StartServer) -> None:
    async with start_server(max_store_files=2) as client:
        store = await store_with(client, "a.txt", "b.txt")
        third = await file_named(client, "c.txt")
        answer = await client.call("POST", f"/vector_stores/{store['id']}/files", {"file_id": third})
        assert answer.error[:2] == (400, f"A vector store can have at most 2 files; {store['id']} has 2.")


async def test_a_file_of_another_purpose(client: Client) -> None:
    store, made = await client.post("/vector_stores", {}), await upload(client, purpose="fine-tune")
    answer = await client.call("POST", f"/vector_stores/{store['id']}/files", {"file_id": made["id"]})
    assert (answer.status, answer.body["error"]["code"]) == (400, "invalid_file_purpose")
