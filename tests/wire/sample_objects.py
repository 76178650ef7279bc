"""What errors are asked of: one of every object, in every state that matters, by short names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from service.database import Pool
from tests.client import V2, Answer, Client
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, calls, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
Ids = dict[str, str]


@dataclass(frozen=True, slots=True)
class Bad:
    """A request and the error it must bring. `{names}` in it stand for ids. A `message` may end in "…"; None is any."""

    request: str  # "POST /threads"
    body: Any = None
    status: int = 400
    message: str | None = None
    param: str | None = None
    code: str | None = None
    beta: str = V2
    headers: dict[str, str] | None = None


async def make_world(client: Client, model: ScriptedServer) -> Ids:
    """Ids by name. `done`, `waiting`, `cancelled` and `busy` threads have a run `*_run` that is just that."""
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


def filled(value: Any, ids: Ids) -> Any:
    """The value with names replaced by ids, wherever it is a text with braces."""
    match value:
        case str():
            for name, id in ids.items():
                value = value.replace("{" + name + "}", id)
            return value
        case dict():
            return {key: filled(item, ids) for key, item in value.items()}
        case list():
            return [filled(item, ids) for item in value]
        case _:
            return value


async def asked(client: Client, bad: Bad, ids: Ids) -> Answer:
    method, _, path = filled(bad.request, ids).partition(" ")
    headers = {"OpenAI-Beta": bad.beta, **(bad.headers or {})}
    return await client.call(method, path, filled(bad.body, ids), headers=headers)


def wrong_with(answer: Answer, bad: Bad, ids: Ids) -> str | None:
    """What the answer has different from what the case wants; None where it is right."""
    # Refusals of files are told twice.
    told = {"error", "detail"} if " /files" in bad.request else {"error"}
    if answer.status != bad.status or not isinstance(answer.body, dict) or set(answer.body) != told:
        return f"{answer.status} {answer.body}"
    error = answer.body["error"]
    if "detail" in told and answer.body["detail"] != {key: error[key] for key in ("message", "code")}:
        return f"says another thing in detail: {answer.body}"
    if list(error) != ["message", "type", "param", "code"] or not error["message"]:
        return f"not the API's shape: {error}"
    message: str = filled(bad.message, ids) or "…"
    begins = message.removesuffix("…")
    said = begins if message.endswith("…") and error["message"].startswith(begins) else error["message"]
    wanted = (message.removesuffix("…"), "invalid_request_error", bad.param, bad.code)
    found = (said, error["type"], error["param"], error["code"])
    if found != wanted:
        return f"wanted {wanted}, found {found}"
    lacking = {"x-request-id", "openai-processing-ms", "openai-version"} - {name.lower() for name in answer.headers}
    return f"lacks {lacking}" if lacking else None


async def written(pool: Pool) -> int:
    """How many events there are."""
    async with pool.acquire() as db:
        return int(await _count(db))


async def _count(db: asyncpg.pool.PoolConnectionProxy[asyncpg.Record]) -> Any:
    return await db.fetchval("SELECT count(*) FROM events")


async def failures(client: Client, pool: Pool, cases: list[Bad], ids: Ids) -> list[str]:
    """The cases that were answered otherwise, with how; and whether any stored something."""
    before = await written(pool)
    found = []
    for bad in cases:
        wrong = wrong_with(await asked(client, bad, ids), bad, ids)
        if wrong is not None:
            found.append(f"{bad.beta} {bad.request} {str(bad.body)[:150]}\n    {wrong}")
    if await written(pool) != before:
        found.append("something was stored")
    return found
