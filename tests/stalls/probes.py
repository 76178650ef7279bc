"""Requests to a real server that cost it as much as its limits allow: one or more for every operation.

`tests/stalls/test_stalls.py` and `scripts/bench stall` send them while a poller measures how long GET /healthz takes.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import aiohttp
import orjson

from service.http.route import FormBody, Route
from service.http.routes import ROUTES
from service.wire.fields import MAX_FILES_PAGE, MAX_PAGE
from tests.client import TERMINAL, V1, Client
from tests.http.files import BOUNDARY, field, form, send
from tests.scripted import ScriptedServer
from tests.stalls.objects import Ids, waiting_run
from tests.stalls.worst_bodies import EMOJI, LEGAL, messages, metadata, parts, worst_bodies

Prepare = Callable[[], Awaitable[Ids]]
# Seconds without a byte after which a stream that does not end by itself is left.
QUIET_S = 1.0
# Files of the project, at least, that are added to a vector store at once.
KNOWN_FILES = 100
_FORM_BYTES = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Probe:
    """A request of the operation `route`. `kind` names it in reports.

    `prepare` creates the objects that the request uses up, and returns their ids. `send` sends the request with these
    ids, waits until the runs that follow from it have ended, and returns the status of the answer: 0 if the server
    answered before it had read the whole body, and closed the connection.
    """

    route: Route
    kind: str
    prepare: Prepare
    send: Callable[[Ids], Awaitable[int]]


class Probes:
    """Probes of a server over a scripted model. `ids` are those of `tests.stalls.objects`."""

    def __init__(self, client: Client, model: ScriptedServer, ids: Ids) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    def of(self, routes: Iterable[Route] = ROUTES) -> Iterator[Probe]:
        """Yields the probes of these operations. Those that delete objects are last."""
        chosen = tuple(routes)
        for route in chosen:
            match route.method:
                case "GET":
                    yield Probe(route, "the largest objects", self._known, partial(self._get, route))
                case "POST" if isinstance(route.body, FormBody):
                    yield Probe(route, "a large file", self._known, partial(self._post_form, route, _large_form()))
                    yield Probe(route, "many lines", self._known, partial(self._post_form, route, _long_form()))
                case "POST" if route.body is None:
                    yield Probe(route, "no body", self._preparation(route), partial(self._post, route, b""))
            if route.name == "POST /v1/vector_stores/{vector_store_id}/file_batches":
                yield Probe(route, "known files", self._empty_store, partial(self._post_known_files, route))
        for worst in worst_bodies(chosen):
            prepare = self._preparation(worst.route) if worst.kind == "legal" else self._known
            yield Probe(worst.route, worst.kind, prepare, partial(self._post, worst.route, worst.content))
        for route in chosen:
            if route.method == "DELETE":
                yield Probe(route, "a large object", self._preparation(route), partial(self._delete, route))

    async def _known(self) -> Ids:
        return self._ids

    def _preparation(self, route: Route) -> Prepare:
        """Returns what creates the object that a legal request of the operation uses up."""
        match route.name:
            case "POST /v1/threads/{thread_id}/runs" | "DELETE /v1/threads/{thread_id}":
                return self._thread
            case "DELETE /v1/threads/{thread_id}/messages/{message_id}":
                return self._message
            case "DELETE /v1/assistants/{assistant_id}":
                return self._assistant
            case name if "submit_tool_outputs" in name or name.endswith("/runs/{run_id}/cancel"):
                return self._waiting_run
            case _:
                return self._known

    async def _thread(self) -> Ids:
        thread = await self._client.post("/threads", {"messages": messages(), "metadata": metadata()})
        return {**self._ids, "thread_id": thread["id"]}

    async def _message(self) -> Ids:
        path = f"/threads/{self._ids['thread_id']}/messages"
        message = await self._client.post(path, {"role": "user", "content": parts()})
        return {**self._ids, "message_id": message["id"]}

    async def _empty_store(self) -> Ids:
        """Creates a vector store, and files up to KNOWN_FILES."""
        known = len((await self._client.get("/files", limit=str(KNOWN_FILES)))["data"])
        for number in range(known, KNOWN_FILES):
            await send(self._client, form(b"%d" % number, (("purpose", "assistants"),)))
        return {**self._ids, "vector_store_id": (await self._client.post("/vector_stores", {}))["id"]}

    async def _assistant(self) -> Ids:
        assistant = await self._client.post("/assistants", LEGAL["POST /v1/assistants"]())
        return {**self._ids, "assistant_id": assistant["id"]}

    async def _waiting_run(self) -> Ids:
        thread = await self._client.post("/threads", {"messages": messages()[:100]})
        return {**self._ids, **await waiting_run(self._client, self._model, thread["id"], self._ids["assistant_id"])}

    def _url(self, route: Route, ids: Ids) -> str:
        path = re.sub(r"\{(\w+)\}", lambda name: ids[name.group(1)], route.plain_path)
        return self._client.base_url.removesuffix("/v1") + path

    def _headers(self, route: Route) -> dict[str, str]:
        return {**self._client.headers, **({"OpenAI-Beta": V1} if route.versions == ("v1",) else {})}

    async def _get(self, route: Route, ids: Ids) -> int:
        headers, query = self._headers(route), {}
        if {"page", "files", "replay"} & {*route.query}:
            query["limit"] = str(MAX_FILES_PAGE if "files" in route.query else MAX_PAGE)
        if {"usage", "usage_runs", "costs", "failures"} & {*route.query}:
            query["start_time"] = "0"
        if "resumption" in route.query:
            headers["Last-Event-ID"] = "1.0"
        url = self._url(route, ids)
        patience = QUIET_S if "resumption" in route.query else None
        async with self._client.session.get(url, params=query, headers=headers) as response:
            with suppress(TimeoutError):
                while await asyncio.wait_for(response.content.readany(), patience):
                    pass
            return response.status

    async def _delete(self, route: Route, ids: Ids) -> int:
        async with self._client.session.delete(self._url(route, ids), headers=self._headers(route)) as response:
            await response.read()
            return response.status

    async def _post_form(self, route: Route, body: bytes, ids: Ids) -> int:
        return await self._send(route, ids, body, f"multipart/form-data; boundary={BOUNDARY}")

    async def _post(self, route: Route, body: bytes, ids: Ids) -> int:
        body = body.replace(b"asst_none", ids.get("assistant_id", "asst_none").encode())
        body = body.replace(b"call_none", ids.get("call_id", "call_none").encode())
        status = await self._send(route, ids, body, "application/json")
        if "/runs" in route.path:
            await self._settle(ids["thread_id"])
        return status

    async def _post_known_files(self, route: Route, ids: Ids) -> int:
        """Adds files that exist, as many as the project has, with the largest attributes that the body has room for."""
        known = [file["id"] for file in (await self._client.get("/files", limit=str(MAX_FILES_PAGE)))["data"]]
        room = route.limit.bytes // len(known) - 500
        attributes = {f"{number}": "v" * min(500, max(1, room // 16)) for number in range(16)}
        files = [{"file_id": id, "attributes": attributes} for id in known]
        return await self._send(route, ids, orjson.dumps({"files": files}), "application/json")

    async def _send(self, route: Route, ids: Ids, body: bytes, media_type: str) -> int:
        # The server also hashes the bodies of such requests.
        headers = {**self._headers(route), "Content-Type": media_type, "Idempotency-Key": str(uuid.uuid4())}
        try:
            async with self._client.session.post(self._url(route, ids), data=body, headers=headers) as response:
                raw = await response.read()
                if route.name == "POST /v1/threads/runs" and response.status == 200:
                    await self._settle(orjson.loads(raw)["thread_id"])
                return response.status
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return 0

    async def _settle(self, thread_id: str) -> None:
        """Waits until no run of the thread works."""
        newest = await self._client.get(f"/threads/{thread_id}/runs", limit="1")
        for run in newest["data"]:
            if run["status"] not in TERMINAL:
                await self._client.settled(run)


def _large_form() -> bytes:
    return form(b"\r\n" * (_FORM_BYTES // 2), (("purpose", "assistants"),))


def _long_form() -> bytes:
    """A form with as many lines around its file as are refused."""
    lines = b"".join(field(f"f{n}", EMOJI * 100) for n in range(5_000))
    return lines + form(b"x", (("purpose", "assistants"),))
