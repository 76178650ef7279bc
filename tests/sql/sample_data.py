"""Fills a database with every kind of object through a real server, and records the answers to all GET requests.

`python -m tests.sql.sample_data CHECKOUT FOLDER` creates a dump for `tests/sql/dumps/`. It starts the server of the
checkout in the folder CHECKOUT (any commit: its own code, its own migrations) on an embedded Postgres, calls its API,
and writes FOLDER:

    dump.sql.gz      the database as SQL statements, from pg_dump
    answers.json.gz  a list of `RecordedAnswer`: each GET request and its answer
    blobs/           the bytes of the files

The times and ids of the objects are those of the run, so two runs never create the same dump.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from service.embedded.postgres import EmbeddedPostgres
from service.embedded.postgres_runtime import find_runtime
from tests.client import KEY, V1, V2, Client
from tests.http import files
from tests.machine import clean_environment
from tests.scripted import ScriptedServer, calls, cuts_off, errors, refuses, says
from tests.webhooks.receiver import Receiver

WAIT_S = 120.0
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HANDBOOK = b"The lighthouse at Cape Wrath was built in 1828 by Robert Stevenson. Its lamp turns every 30 seconds.\n"
Json = dict[str, Any]


class RecordedAnswer(NamedTuple):
    """A GET request and its answer. `key` is the API key, `beta` the OpenAI-Beta header; `body` is text or JSON."""

    key: str
    beta: str
    path: str
    status: int
    body: Any


class Sample:
    """The objects of one project, created through `client`. `paths` are the paths of the objects."""

    def __init__(self, client: Client, model: ScriptedServer, receiver: Receiver) -> None:
        self.client = client
        self.model = model
        self.receiver = receiver
        self.paths: list[str] = []

    async def create(self, path: str, body: Any, headers: Json | None = None) -> Json:
        """Creates an object that GET `path`/ID returns."""
        answer = await self.client.call("POST", path, body, headers=headers)
        assert answer.status == 200, (path, answer.status, answer.body)
        self.paths.append(f"{path}/{answer.body['id']}")
        return cast(Json, answer.body)

    async def assistants(self) -> None:
        body = {
            "model": "scripted",
            "name": "Guide",
            "instructions": "Be brief.",
            "metadata": {"team": "red", "n": "1"},
        }
        kept = await self.create("/assistants", {**body, "tools": [WEATHER], "temperature": 0.5})
        await self.client.post(f"/assistants/{kept['id']}", {"name": "Old guide", "metadata": {"team": "blue"}})
        deleted = await self.create("/assistants", body)
        await self.client.delete(f"/assistants/{deleted['id']}")

    async def threads(self) -> None:
        said = [
            {"role": "user", "content": "Hello 🌍"},
            {"role": "assistant", "content": "Hello!", "metadata": {"a": "b"}},
        ]
        kept = await self.create("/threads", {"messages": said, "metadata": {"user": "ann"}})
        path = f"/threads/{kept['id']}"
        await self.client.post(path, {"metadata": {"user": "bob", "env": "test"}})
        message = await self.create(path + "/messages", {"role": "user", "content": "One\nTwo", "metadata": {"x": "y"}})
        await self.client.post(f"{path}/messages/{message['id']}", {"metadata": {"x": "z"}})
        deleted = await self.create(path + "/messages", {"role": "user", "content": "Forget this."})
        await self.client.delete(f"{path}/messages/{deleted['id']}")
        other = await self.create("/threads", {"messages": said})
        await self.client.delete(f"/threads/{other['id']}")

    async def runs(self) -> None:
        """A thread with runs that ended in every way but by expiry."""
        assistant = await self.create("/assistants", {"model": "scripted", "tools": [WEATHER]})
        body = {"messages": [{"role": "user", "content": "How is the weather?"}]}
        thread = (await self.create("/threads", body))["id"]
        runs = f"/threads/{thread}/runs"
        asked = {"assistant_id": assistant["id"], "metadata": {"kind": "run"}}
        self.model.script(says("It is sunny today."))
        await self._run(runs, asked)
        self.model.script(calls(("weather", {"city": "Paris"}), text="I look."), says("Rain in Paris."))
        waiting = await self._run(runs, asked)
        assert waiting["status"] == "requires_action", waiting
        call = waiting["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
        outputs = {"tool_outputs": [{"tool_call_id": call, "output": "rain"}]}
        await self.client.settled(await self.client.post(f"{runs}/{waiting['id']}/submit_tool_outputs", outputs))
        self.model.script(cuts_off("This is cut"))
        await self._run(runs, {**asked, "max_completion_tokens": 300})
        self.model.script(errors(400))
        await self._run(runs, asked)
        self.model.script(refuses("I cannot say that."))
        await self._run(runs, {**asked, "instructions": "Refuse.", "model": "other"})
        self.model.script(says("This is never said to its end").waits("open", before=2))
        cancelled = await self.create(runs, asked)
        await self.model.wait_for_gate("open")
        await self.client.post(f"{runs}/{cancelled['id']}/cancel")
        self.model.open_gate("open")
        await self.client.settled(cancelled)
        self.model.script(says("Streamed."))
        new_thread = {"messages": [{"role": "user", "content": "Stream!"}], "metadata": {"made": "on the way"}}
        async for frame in self.client.stream("/threads/runs", {**asked, "thread": new_thread, "stream": True}):
            if frame.event == "thread.created":
                self.paths.append(f"/threads/{frame.data['id']}")

    async def _run(self, path: str, asked: Json) -> Json:
        return cast(Json, await self.client.settled(await self.create(path, asked)))

    async def queue(self) -> None:
        """A message and a run that waited behind an active run."""
        assistant = await self.create("/assistants", {"model": "scripted"})
        thread = (await self.create("/threads", {"messages": [{"role": "user", "content": "First?"}]}))["id"]
        runs, asked = f"/threads/{thread}/runs", {"assistant_id": assistant["id"]}
        self.model.script(says("First answer.").waits("queue"), says("Second answer."))
        queued = {"Everthread-Busy": "queue"}
        await self.create(runs, asked)
        await self.model.wait_for_gate("queue")
        await self.create(f"/threads/{thread}/messages", {"role": "user", "content": "Second?"}, queued)
        second = await self.create(runs, asked, queued)
        self.model.open_gate("queue")
        await self.client.settled(second)

    async def files(self) -> None:
        kept = await files.upload(self.client, b"Kept.", filename='filename="kept.txt"')
        deleted = await files.upload(self.client, b"Deleted.")
        await self.client.delete(f"/files/{deleted['id']}")
        self.paths += [f"/files/{kept['id']}", f"/files/{kept['id']}/content", f"/files/{deleted['id']}"]
        attached = [{"file_id": kept["id"], "tools": [{"type": "code_interpreter"}]}]
        said = {"role": "user", "content": "Read this.", "attachments": attached}
        await self.create("/threads", {"messages": [said]})
        coded = {"code_interpreter": {"file_ids": [kept["id"]]}}
        tools = [{"type": "code_interpreter"}]
        await self.create("/assistants", {"model": "scripted", "tools": tools, "tool_resources": coded})

    async def uploads(self) -> None:
        body = {"filename": "parts.txt", "purpose": "assistants", "bytes": 5, "mime_type": "text/plain"}
        upload = f"/uploads/{(await self.client.post('/uploads', body))['id']}"
        form = files.file_head(name="data") + b"Parts" + files.END
        part = (await files.send(self.client, form, upload + "/parts")).body
        done = await self.client.post(upload + "/complete", {"part_ids": [part["id"]]})
        self.paths += [f"/files/{done['file']['id']}", f"/files/{done['file']['id']}/content"]
        cancelled = (await self.client.post("/uploads", body))["id"]
        await self.client.post(f"/uploads/{cancelled}/cancel")

    async def vector_stores(self) -> None:
        """A store with files, attributes and a batch, and a run that searches it."""
        named = [await self._handbook(f"handbook{n}.txt") for n in range(3)]
        store = await self.create(
            "/vector_stores", {"name": "Handbooks", "file_ids": named[:1], "metadata": {"a": "1"}}
        )
        path = f"/vector_stores/{store['id']}"
        await self.create(path + "/files", {"file_id": named[1], "attributes": {"year": 1828, "lit": True}})
        batch = await self.create(path + "/file_batches", {"file_ids": named[2:]})
        self.paths.append(f"{path}/file_batches/{batch['id']}/files")
        await self._indexed(path, 3)
        await self.client.post(f"{path}/files/{named[1]}", {"attributes": {"year": 1829}})
        await self.client.delete(f"{path}/files/{named[2]}")
        await self.client.post(path, {"name": "Lighthouses"})
        self.paths += [f"{path}/files/{named[0]}", f"{path}/files/{named[0]}/content"]
        deleted = await self.create("/vector_stores", {"name": "Deleted"})
        await self.client.delete(f"/vector_stores/{deleted['id']}")

    async def file_search(self) -> None:
        file = await self._handbook("lighthouse.txt")
        store = await self.create("/vector_stores", {"name": "Lighthouse", "file_ids": [file]})
        await self._indexed(f"/vector_stores/{store['id']}", 1)
        searched = {"file_search": {"vector_store_ids": [store["id"]]}}
        assistant = {"model": "scripted", "tools": [{"type": "file_search"}], "tool_resources": searched}
        made = await self.create("/assistants", assistant)
        thread = await self.create("/threads", {"messages": [{"role": "user", "content": "When was it built?"}]})
        self.model.script(
            calls(("file_search", {"query": "lighthouse built"})), says("In 1828 【1:0†lighthouse.txt】.")
        )
        await self._run(f"/threads/{thread['id']}/runs", {"assistant_id": made["id"]})

    async def code_interpreter(self) -> None:
        assistant = {"model": "scripted", "tools": [{"type": "code_interpreter"}]}
        made = await self.create("/assistants", assistant)
        thread = await self.create("/threads", {"messages": [{"role": "user", "content": "Write a file."}]})
        code = "open('/mnt/data/out.txt', 'w').write('42')\nprint('written')"
        self.model.script(calls(("code_interpreter", {"code": code})), says("See sandbox:/mnt/data/out.txt."))
        await self._run(f"/threads/{thread['id']}/runs", {"assistant_id": made["id"]})

    async def webhooks(self) -> None:
        """An endpoint with a rotated secret that gets a message, and a disabled endpoint."""
        path, url = "/webhook_endpoints", self.receiver.url("/ok")
        kept = await self.create(path, {"url": url, "description": "Ours"})
        await self.client.post(f"{path}/{kept['id']}/rotate_secret", {"previous_expires_in": 604_800})
        other = await self.create(path, {"url": url, "events": ["thread.run.failed"]})
        await self.client.post(f"{path}/{other['id']}", {"status": "disabled"})
        deleted = await self.create(path, {"url": url})
        await self.client.delete(f"{path}/{deleted['id']}")
        assistant = await self.create("/assistants", {"model": "scripted"})
        thread = await self.create("/threads", {"messages": [{"role": "user", "content": "Hook!"}]})
        await self._run(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        await self.receiver.until(lambda got: any(one.type == "thread.run.completed" for one in got))

    async def idempotency(self) -> None:
        headers = {"Idempotency-Key": "thread-1"}
        body = {"messages": [{"role": "user", "content": "Once."}]}
        first = await self.create("/threads", body, headers)
        assert (await self.client.call("POST", "/threads", body, headers=headers)).body == first

    async def tokens(self) -> None:
        thread = await self.create("/threads", {})
        await self.client.post(f"/threads/{thread['id']}/stream_tokens", {})

    async def version_1(self) -> None:
        """An assistant and a message of the API's first version, with files."""
        file = await self._handbook("v1.txt")
        self.client.headers["OpenAI-Beta"] = V1
        body = {"model": "scripted", "tools": [{"type": "retrieval"}], "file_ids": [file]}
        made = await self.create("/assistants", body)
        thread = await self.create("/threads", {"messages": [{"role": "user", "content": "Hi", "file_ids": [file]}]})
        self.model.script(says("From version 1."))
        await self._run(f"/threads/{thread['id']}/runs", {"assistant_id": made["id"]})
        self.paths += [f"/assistants/{made['id']}/files", f"/assistants/{made['id']}/files/{file}"]
        self.client.headers["OpenAI-Beta"] = V2

    async def _handbook(self, name: str) -> str:
        made = await files.upload(self.client, HANDBOOK, filename=f'filename="{name}"')
        self.paths.append(f"/files/{made['id']}")
        return cast(str, made["id"])

    async def _indexed(self, store: str, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while (await self.client.get(store))["file_counts"]["completed"] < count:
                await asyncio.sleep(0.1)


Part = Callable[[Sample], Awaitable[None]]
PARTS: tuple[Part, ...] = (
    Sample.assistants,
    Sample.threads,
    Sample.runs,
    Sample.queue,
    Sample.files,
    Sample.uploads,
    Sample.vector_stores,
    Sample.file_search,
    Sample.code_interpreter,
    Sample.webhooks,
    Sample.idempotency,
    Sample.tokens,
    Sample.version_1,
)
PARTS_OF_SECOND_PROJECT = (Sample.threads, Sample.runs)


@asynccontextmanager
async def server_of(checkout: Path, database_url: str, model: str, data_dir: Path) -> AsyncIterator[str]:
    """Starts the server of the checkout in a process of its own, and yields its base URL."""
    clean = clean_environment()
    settings = {"API_KEY": KEY, "MODEL_BASE_URL": model, "DATABASE_URL": database_url, "DATA_DIR": str(data_dir)}
    settings |= {"WEBHOOKS_ALLOW_PRIVATE": "true", "LOG_LEVEL": "error"}
    environment = {**clean, **{f"EVERTHREAD_{name}": value for name, value in settings.items()}}
    environment["PYTHONPATH"] = str(checkout)
    command = (sys.executable, "-m", "service.cli", "serve", "--port", "0")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=checkout, stdout=pipe)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            while b"OPENAI_BASE_URL=" not in (line := await process.stdout.readline()):
                assert line, "the server ended before it was ready"
        yield line.decode().split("OPENAI_BASE_URL=", 1)[1].strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), WAIT_S)


def create_key(checkout: Path, database_url: str) -> str:
    """Creates a project with two keys by the command line, and returns the last key."""
    environment = {**os.environ, "EVERTHREAD_DATABASE_URL": database_url, "PYTHONPATH": str(checkout)}

    def everthread(*arguments: str) -> str:
        command = [sys.executable, "-m", "service.cli", *arguments]
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, timeout=60, check=True)
        return done.stdout.decode().strip()

    everthread("projects", "create", "--name", "Research")
    everthread("keys", "create", "--project", "Research", "--name", "revoked")
    return everthread("keys", "create", "--project", "Research", "--name", "used", "--max-runs", "5")


async def record(client: Client, paths: list[str]) -> list[RecordedAnswer]:
    """Returns the answers to GET requests for these paths, for all lists, and for all objects in and below them."""
    lists = ["/assistants", "/threads", "/files", "/vector_stores", "/webhook_endpoints"]
    filters = ["/threads?metadata[user]=bob", "/threads?metadata[user]=bob&metadata[env]=test", "/threads?order=asc"]
    found: dict[tuple[str, str], RecordedAnswer] = {}
    ahead = [(beta, path) for beta in (V2, V1) for path in (*lists, *filters, *paths)]
    while ahead:
        place = beta, path = ahead.pop()
        if place not in found:
            answer = await get(client, beta, path)
            # A path that this version does not have is not worth keeping.
            if answer.status not in (400, 404) or path in paths:
                found[place] = answer
            ahead += [(beta, below) for below in _below(path, answer.body)]
    return [found[place] for place in sorted(found)]


async def get(client: Client, beta: str, path: str) -> RecordedAnswer:
    headers = {**client.headers, "OpenAI-Beta": beta}
    async with client.session.get(client.base_url + path, headers=headers) as response:
        text = await response.text()
        body = orjson.loads(text) if response.content_type == "application/json" else text
    return RecordedAnswer(client.headers["Authorization"].removeprefix("Bearer "), beta, path, response.status, body)


BELOW = {
    "thread": ("/messages", "/messages?order=asc&limit=2", "/runs"),
    "thread.message": ("/files",),
    "thread.run": ("/steps",),
    "assistant": ("/files",),
    "vector_store": ("/files",),
    "vector_store.file": ("/content",),
    "file": ("/content",),
}


def _below(path: str, body: Any) -> list[str]:
    """Returns the paths of the objects of a list, or of the lists below an object."""
    if not isinstance(body, dict) or "error" in body:
        return []
    if body.get("object") == "list":
        return [f"{path.partition('?')[0]}/{entry['id']}" for entry in body["data"] if "id" in entry]
    return [path + suffix for suffix in BELOW.get(body.get("object", ""), ())]


def dump(database_url: str) -> bytes:
    """Returns the database as SQL statements that asyncpg can execute at once."""
    command = [str(find_runtime(Path("/none")).bin / "pg_dump"), "--no-owner", "--no-privileges", "--inserts"]
    done = subprocess.run([*command, database_url], capture_output=True, timeout=60, check=True)
    # Without the commands of psql that pg_dump adds.
    return b"".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith(b"\\"))


async def create_dump(checkout: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o711)
        postgres = EmbeddedPostgres(home / "database")
        url = await postgres.start()
        try:
            async with ScriptedServer() as model, Receiver() as receiver:
                answers = await fill(checkout, url, model, receiver, home / "data")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "dump.sql.gz").write_bytes(gzip.compress(dump(url), mtime=0))
            packed = gzip.compress(orjson.dumps([list(answer) for answer in answers]), mtime=0)
            (folder / "answers.json.gz").write_bytes(packed)
            shutil.copytree(home / "data" / "blobs", folder / "blobs", dirs_exist_ok=True)
        finally:
            await postgres.stop()


async def fill(checkout: Path, url: str, model: ScriptedServer, receiver: Receiver, data: Path) -> list[RecordedAnswer]:
    """Creates the objects of both projects in the database at `url`, and returns the answers about them."""
    answers = []
    async with server_of(checkout, url, model.base_url, data) as base_url:
        for key, parts in ((KEY, PARTS), (create_key(checkout, url), PARTS_OF_SECOND_PROJECT)):
            async with Client(base_url, key=key, validate=False) as client:
                sample = Sample(client, model, receiver)
                for part in parts:
                    await part(sample)
                answers += await record(client, sample.paths)
    return answers


if __name__ == "__main__":
    asyncio.run(create_dump(Path(sys.argv[1]).resolve(), Path(sys.argv[2])))
