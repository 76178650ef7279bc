"""The check of answers notices every change of a real answer.

Each test removes one key, adds one, or changes the type of one value, everywhere except in free-form values.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client import V1, V2, Client, version_of
from tests.http.files import form, send, upload
from tests.scripted import ScriptedServer, calls, says
from tests.wire.validation import problems_of_answer, problems_of_frame

WEATHER = {"type": "function", "function": {"name": "weather", "strict": True}}
CODE = {"type": "code_interpreter"}
SEARCH = {"type": "file_search", "file_search": {"max_num_results": 5}}
# Objects that users fill freely.
FREE = {"metadata", "attributes", "parameters"}
# Keys that answers may lack, because users need not set them or only some answers have them.
MAY_LACK = {
    ("function", "description"),
    ("file_search", "max_num_results"),
    ("tool_resources", "code_interpreter"),
    ("tool_resources", "file_search"),
    ("file",),
}
Place = tuple[str | int, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Yields the path of every value in an answer, except inside free-form values."""
    yield at
    if at and at[-1] in FREE:
        return
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*at, key))


def change_everywhere(whole: Any) -> Iterator[tuple[str, Any]]:
    """Yields every answer with one change, and a description of the change."""
    for at in places(whole):
        wrong = copy.deepcopy(whole)
        holder: Any = None
        value: Any = wrong
        for key in at:
            holder, value = value, value[key]
        if isinstance(value, dict) and not (at and at[-1] in FREE):
            value["zzz"] = 1
            yield f"{at} has one more", copy.deepcopy(wrong)
            del value["zzz"]
        if holder is not None:
            holder[at[-1]] = [[]]
            yield f"{at} is of another type", copy.deepcopy(wrong)
            if isinstance(holder, dict) and not {at[-1:], at[-2:]} & MAY_LACK:
                del holder[at[-1]]
                yield f"{at} is gone", wrong


async def collect_answers(client: Client, model: ScriptedServer) -> list[str]:
    """Returns answers that together hold most types of objects, by path."""
    model.script(calls(("weather", {"a": 1})), says("Fine."))
    old = client.headers["OpenAI-Beta"] == V1
    found = {"type": "retrieval"} if old else SEARCH
    file = (await upload(client))["id"]
    files = {"file_ids": [file]} if old else {"tool_resources": {"code_interpreter": {"file_ids": [file]}}}
    assistant = await client.post("/assistants", {"model": "gpt-4o", "tools": [WEATHER, CODE, found], **files})
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"assistant_id": assistant["id"], "thread": thread, "tools": [WEATHER, found]}
    run = await client.settled(await client.post("/threads/runs", body))
    at = f"/threads/{run['thread_id']}"
    waiting = f"{at}/runs/{run['id']}"
    assert run["status"] == "requires_action", run["last_error"]
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    check_changes_are_seen(client, waiting, run)
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    await client.settled(await client.post(f"{waiting}/submit_tool_outputs", outputs))
    paths = [f"/assistants/{assistant['id']}", at, waiting, f"{waiting}/steps", f"{at}/messages", "/files"]
    if old:
        return paths
    begun = await client.post("/uploads", {"filename": "a", "purpose": "batch", "bytes": 4, "mime_type": "text/plain"})
    part = await send(client, form(b"abcd", (), name="data"), f"/uploads/{begun['id']}/parts")
    done = f"/uploads/{begun['id']}/complete"
    check_changes_are_seen(client, done, await client.post(done, {"part_ids": [part.body["id"]]}))
    await client.post("/vector_stores", {"name": "n", "file_ids": [file]})
    return [*paths, "/vector_stores"]


def check_changes_are_seen(client: Client, path: str, body: Any) -> None:
    """Asserts that the check notices each change of the answer."""
    version = version_of(client.headers)
    assert problems_of_answer(version, "GET", path, 200, body) == []
    unseen = [what for what, wrong in change_everywhere(body) if not _problems(version, path, wrong)]
    assert unseen == [], path


def _problems(version: str, path: str, body: Any) -> Any:
    try:
        return problems_of_answer(version, "GET", path, 200, body)
    except (KeyError, TypeError, AttributeError):  # an answer that breaks the check itself is noticed too
        return True


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_whatever_is_changed_is_seen(client: Client, model: ScriptedServer, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    for path in await collect_answers(client, model):
        check_changes_are_seen(client, path, await client.get(path))


async def test_what_is_ours_is_checked_too(client: Client) -> None:
    thread = await client.post("/threads")
    path = f"/threads/{thread['id']}/stream_tokens"
    token = await client.post(path, {})
    assert problems_of_answer("v2", "POST", path, 200, token) == []
    assert problems_of_answer("v2", "POST", path, 200, {**token, "more": 1}) != []
    assert problems_of_answer("v2", "GET", "/nothing/of/ours", 200, {}) != []


@pytest.mark.parametrize(
    ("beta", "version"),
    [(V1, "v1"), (V2, "v2"), ("other=v1, assistants=v1", "v1"), ("assistants=v2,assistants=v1", "v2"), ("", "v2")],
)
def test_the_version_of_a_request(beta: str, version: str) -> None:
    assert version_of({"OpenAI-Beta": beta}) == version


def test_the_check_sees_what_is_wrong() -> None:
    """Otherwise a check that never finds a problem would pass."""
    deleted = {"id": "asst_1", "object": "assistant.deleted", "deleted": True}
    assert problems_of_answer("v1", "DELETE", "/assistants/asst_1", 200, deleted) == []
    assert problems_of_answer("v1", "DELETE", "/assistants/asst_1", 200, {**deleted, "more": 1}) != []
    assert problems_of_answer("v2", "DELETE", "/threads/thread_1", 200, deleted) != []
    thread = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}}
    assert problems_of_answer("v1", "GET", "/threads/thread_1", 200, thread) == []
    assert problems_of_answer("v2", "GET", "/threads/thread_1", 200, thread) != []
    assert problems_of_answer("v1", "GET", "/threads/thread_1", 200, {**thread, "tool_resources": {}}) != []
    assert problems_of_frame("v1", "thread.created", thread) == []
    assert problems_of_frame("v1", "thread.created", {**thread, "created_at": "1"}) != []
    assert problems_of_answer("v1", "GET", "/threads/thread_1", 404, {"error": {"message": "No"}}) != []
