"""A minimal relay to measure against: the cost of a turn if nothing has to survive a crash.

It stores the same facts as a plain turn does (two transactions: five rows and a message, then four rows and a message),
reads the thread's history, calls the model, and relays each token as a server-sent event. It cannot resume a run, and
has no keys, no validation and no versions. It is a yardstick, not a peer: it runs in the same measurement, on the same
Postgres and the same model server, and only ratios count.

    RELAY_DSN=postgresql://…/relay RELAY_MODEL_URL=http://127.0.0.1:18000/v1 python -m scripts.bench_relay

POST /threads {} answers {"id"}. POST /turn {"thread", "text", "model"} answers with `data: {"d": "token"}` …, and
`data: [DONE]`. If the model calls tools, the relay answers the calls itself with "sunny" and calls the model again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from typing import Any

import aiohttp
import asyncpg
import orjson
import uvloop
from aiohttp import web

SCHEMA = """
CREATE TABLE IF NOT EXISTS ev (seq bigserial PRIMARY KEY, stream uuid NOT NULL, ver int NOT NULL, type text NOT NULL,
    data jsonb NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE UNIQUE INDEX IF NOT EXISTS ev_sv ON ev (stream, ver);
CREATE TABLE IF NOT EXISTS msg (id uuid PRIMARY KEY, thread uuid, role text, content text,
    at timestamptz DEFAULT clock_timestamp());
CREATE INDEX IF NOT EXISTS msg_t ON msg (thread, at);
CREATE TABLE IF NOT EXISTS run (id uuid PRIMARY KEY, thread uuid, status text, model text);
"""
APPEND = "INSERT INTO ev (stream, ver, type, data) SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::jsonb[])"
MESSAGE = "INSERT INTO msg (id, thread, role, content) VALUES ($1, $2, $3, $4)"
OPENING = ("message.created", "run.created", "run.queued", "run.in_progress", "step.created")
TOOL = ("run.requires_action", "step.completed", "run.in_progress")
CLOSING = ("message.created", "message.completed", "step.completed", "run.completed")
JSON = {"Content-Type": "application/json"}


def event(kind: str, thread: str, run: str, text: str) -> str:
    """Returns a stored object that is as large as a real one."""
    body = {"id": run, "object": kind, "created_at": 1700000000, "thread_id": thread, "run_id": run, "status": "x"}
    body |= {"assistant_id": "asst_0123456789abcdef", "role": "assistant", "metadata": {}, "attachments": []}
    return orjson.dumps(body | {"content": [{"type": "text", "text": {"value": text, "annotations": []}}]}).decode()


class Relay:
    def __init__(self, pool: asyncpg.Pool[Any], http: aiohttp.ClientSession, model_url: str) -> None:
        self._pool = pool
        self._http = http
        self._model_url = model_url

    async def create_thread(self, _: web.Request) -> web.Response:
        return web.json_response({"id": str(uuid.uuid4())})

    async def turn(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        thread, run = uuid.UUID(body["thread"]), uuid.uuid4()
        async with self._pool.acquire() as db:
            async with db.transaction():
                await _append(db, run, 0, OPENING, body["thread"], body["text"])
                await db.execute(MESSAGE, uuid.uuid4(), thread, "user", body["text"])
                await db.execute("INSERT INTO run VALUES ($1, $2, 'in_progress', $3)", run, thread, body["model"])
            rows = await db.fetch("SELECT role, content FROM msg WHERE thread = $1 ORDER BY at", thread)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        messages = [dict(row) for row in rows]
        version = len(OPENING)
        while True:
            text, has_called = await self._ask(body["model"], messages, response)
            if not has_called:
                break
            async with self._pool.acquire() as db:
                await _append(db, run, version, TOOL, body["thread"], "sunny")
            version += len(TOOL)
            messages.append({"role": "assistant", "content": None})
            messages.append({"role": "tool", "tool_call_id": "x", "content": "sunny"})
        async with self._pool.acquire() as db, db.transaction():
            await _append(db, run, version, CLOSING, body["thread"], text)
            await db.execute(MESSAGE, uuid.uuid4(), thread, "assistant", text)
            await db.execute("UPDATE run SET status = 'completed' WHERE id = $1", run)
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _ask(self, model: str, messages: list[dict[str, Any]], response: web.StreamResponse) -> tuple[str, bool]:
        """Relays the model's tokens. Returns the text, and whether the model called a tool."""
        text: list[str] = []
        has_called = False
        data = orjson.dumps({"model": model, "stream": True, "messages": messages})
        async with self._http.post(self._model_url + "/chat/completions", data=data, headers=JSON) as answer:
            async for line in answer.content:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                choices = orjson.loads(line[6:])["choices"]
                delta = choices[0]["delta"] if choices else {}
                if token := delta.get("content"):
                    text.append(token)
                    await response.write(b"data: " + orjson.dumps({"d": token}) + b"\n\n")
                has_called = has_called or bool(delta.get("tool_calls"))
        return "".join(text), has_called


async def _append(
    db: asyncpg.pool.PoolConnectionProxy[Any],
    run: uuid.UUID,
    after: int,
    kinds: tuple[str, ...],
    thread: str,
    text: str,
) -> None:
    versions = list(range(after + 1, after + 1 + len(kinds)))
    await db.execute(
        APPEND, [run] * len(kinds), versions, list(kinds), [event(kind, thread, str(run), text) for kind in kinds]
    )


async def _serve() -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    connector = aiohttp.TCPConnector(limit=0)
    no_timeout = aiohttp.ClientTimeout(total=None)
    async with (
        asyncpg.create_pool(os.environ["RELAY_DSN"], min_size=4, max_size=16) as pool,
        aiohttp.ClientSession(connector=connector, timeout=no_timeout) as http,
    ):
        await pool.execute(SCHEMA)
        relay, application = Relay(pool, http, os.environ["RELAY_MODEL_URL"]), web.Application()
        application.router.add_post("/threads", relay.create_thread)
        application.router.add_post("/turn", relay.turn)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
