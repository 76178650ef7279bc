"""Objects for tests of errors, one of every type in every relevant state, by short names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.database import Pool
from sql.connection import Connection
from tests.client import V2, Answer, Client
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, calls, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
Ids = dict[str, str]


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request and its error. `{names}` in it stand for ids. A `message` may end in "…"; None allows any message."""

    request: str  # "POST /threads"
    body: Any = None
    status: int = 400
    message: str | None = None
    param: str | None = None
    code: str | None = None
    beta: str = V2
    headers: dict[str, str] | None = None


async def make_world(client: Client, model: ScriptedServer) -> Ids:
    """Creates the objects and returns their ids by name. The thread `waiting` has the run `waiting_run`, and so on."""
    held = [says("Later").waits(name) for name in ("cancelled", "busy")]
    model.script(says("Fine."), calls(("weather", {})), *held)
    assistant = await assistant_with(client, tools=[WEATHER])
    gone_assistant, gone_thread = await assistant_with(client), await thread_with(client, "Hi")
    ids: Ids = {"assistant": assistant["id"], "gone_assistant": gone_assistant["id"], "gone_thread": gone_thread["id"]}
    for name in ("done", "waiting", "cancelled", "busy"):
        thread = await thread_with(client, "Hi")
        run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        ids |= {name: thread["id"], f"{name}_run": run["id"]}
        if name in ("cancelled", "busy"):
            await model.wait_for_gate(name)
        if name == "cancelled":
            await client.post(f"/threads/{thread['id']}/runs/{run['id']}/cancel")
        if name != "busy":
            run = await client.settled(run)
        if name == "waiting":
            ids["call"] = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    [answer, question] = (await client.get(f"/threads/{ids['done']}/messages"))["data"]
    [step] = (await client.get(f"/threads/{ids['done']}/runs/{ids['done_run']}/steps"))["data"]
    empty, other = await client.post("/threads"), await thread_with(client, "Elsewhere")
    gone = await client.post(f"/threads/{other['id']}/messages", {"role": "user", "content": "Gone"})
    await client.delete(f"/threads/{other['id']}/messages/{gone['id']}")
    await client.delete(f"/assistants/{gone_assistant['id']}")
    await client.delete(f"/threads/{gone_thread['id']}")
    return ids | {
        "message": question["id"],
        "answer": answer["id"],
        "step": step["id"],
        "empty": empty["id"],
        "other": other["id"],
        "gone_message": gone["id"],
    }


def fill_ids(value: Any, ids: Ids) -> Any:
    """Returns the value with the names in braces replaced by ids."""
    match value:
        case str():
            for name, id in ids.items():
                value = value.replace("{" + name + "}", id)
            return value
        case dict():
            return {key: fill_ids(item, ids) for key, item in value.items()}
        case list():
            return [fill_ids(item, ids) for item in value]
        case _:
            return value


async def send_request(client: Client, bad: BadRequest, ids: Ids) -> Answer:
    method, _, path = fill_ids(bad.request, ids).partition(" ")
    headers = {"OpenAI-Beta": bad.beta, **(bad.headers or {})}
    return await client.call(method, path, fill_ids(bad.body, ids), headers=headers)


def find_difference(answer: Answer, bad: BadRequest, ids: Ids) -> str | None:
    """Returns the first difference of the answer from the expected error, or None."""
    # Errors about files have their message twice.
    told = {"error", "detail"} if " /files" in bad.request else {"error"}
    if answer.status != bad.status or not isinstance(answer.body, dict) or set(answer.body) != told:
        return f"{answer.status} {answer.body}"
    error = answer.body["error"]
    if "detail" in told and answer.body["detail"] != {key: error[key] for key in ("message", "code")}:
        return f"says another thing in detail: {answer.body}"
    if list(error) != ["message", "type", "param", "code"] or not error["message"]:
        return f"not the API's shape: {error}"
    message: str = fill_ids(bad.message, ids) or "…"
    begins = message.removesuffix("…")
    said = begins if message.endswith("…") and error["message"].startswith(begins) else error["message"]
    wanted = (message.removesuffix("…"), "invalid_request_error", bad.param, bad.code)
    found = (said, error["type"], error["param"], error["code"])
    if found != wanted:
        return f"wanted {wanted}, found {found}"
    always = {"x-request-id", "openai-processing-ms", "openai-version", "openai-organization"}
    lacking = always - {name.lower() for name in answer.headers}
    return f"lacks {lacking}" if lacking else None


async def count_events(pool: Pool) -> int:
    """Returns the number of events in the log."""
    async with pool.acquire() as db:
        return int(await _count(db))


async def _count(db: Connection) -> Any:
    return await db.fetchval("SELECT count(*) FROM events")


async def find_failures(client: Client, pool: Pool, cases: list[BadRequest], ids: Ids) -> list[str]:
    """Returns the cases with another answer than expected, and reports whether any case stored an event."""
    before = await count_events(pool)
    found = []
    for bad in cases:
        wrong = find_difference(await send_request(client, bad, ids), bad, ids)
        if wrong is not None:
            found.append(f"{bad.beta} {bad.request} {str(bad.body)[:150]}\n    {wrong}")
    if await count_events(pool) != before:
        found.append("something was stored")
    return found
