"""`scripts/record_run --all`: records a run of every kind on real servers, for the corpus of recorded runs.

    .venv/bin/python -m scripts.record_corpus [FOLDER] [--only KIND]

Servers in processes of their own run over one new embedded Postgres, a scripted model server and, for one run, the
embedded model. Each run is written to FOLDER/KIND.jsonl, by default tests/replay/corpus, instead of the file that is
there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import temporary_home
from service.database import open_pool
from service.migrations import prepare_database
from service.replay.run_recorder import load_run, record_lines
from tests import client as client_module
from tests.client import KEY, V1, Client
from tests.http import files
from tests.scripted import ScriptedServer, breaks_after, calls, cuts_off, errors, says

CORPUS = Path(__file__).parents[1] / "tests" / "replay" / "corpus"
START_S, WAIT_S = 600.0, 600.0
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HANDBOOK = b"The lighthouse at Cape Wrath was built in 1828 by Robert Stevenson. Its lamp turns every 30 seconds.\n"
QUEUE = {"Everthread-Busy": "queue"}
Json = dict[str, Any]


class RunMaker:
    """Makes runs on servers over the database at `url`. Each method that KINDS names returns the id of its run."""

    def __init__(self, url: str, home: Path, model: ScriptedServer) -> None:
        self.url = url
        self.model = model
        self._home = home

    @asynccontextmanager
    async def server(self, **settings: str) -> AsyncIterator[tuple[Client, asyncio.subprocess.Process]]:
        """Starts a server with these settings, and yields a client of it and its process."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EVERTHREAD_")}
        ours = {
            "DATABASE_URL": self.url,
            "API_KEY": KEY,
            "MODEL_BASE_URL": self.model.base_url,
            "DATA_DIR": str(self._home / "data"),
            "LOG_LEVEL": "error",
            **settings,
        }
        environment = {**clean, **{f"EVERTHREAD_{name}": value for name, value in ours.items() if value}}
        command = (sys.executable, "-m", "service.cli", "serve", "--port", "0")
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        try:
            async with Client(await asyncio.wait_for(_base_url(process), START_S)) as client:
                yield client, process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def text(self) -> str:
        self.model.script(says("It is sunny today."))
        return await self._whole_run("How is the weather?")

    async def embedded(self) -> str:
        async with self.server(MODEL_BASE_URL="", CODE_INTERPRETER="off") as (client, _):
            return await _run(client, "Say hello.", model="smollm2", max_completion_tokens=256)

    async def functions(self) -> str:
        self.model.script(calls(("weather", {"city": "Paris"}), text="I look."), says("Rain in Paris."))
        return await self._run_with_outputs()

    async def parallel(self) -> str:
        cities = [("weather", {"city": city}) for city in ("Paris", "Rome", "Oslo")]
        self.model.script(calls(*cities), says("Rain everywhere."))
        return await self._run_with_outputs()

    async def code(self) -> str:
        code = "open('/mnt/data/out.txt', 'w').write('42')\nprint('written')"
        self.model.script(
            calls(("code_interpreter", {"code": code})),
            calls(("code_interpreter", {"code": "1 / 0"})),
            says("See sandbox:/mnt/data/out.txt."),
        )
        async with self.server() as (client, _):
            return await _run(client, "Write a file.", tools=[{"type": "code_interpreter"}])

    async def search(self) -> str:
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            file = await files.upload(client, HANDBOOK, filename='filename="handbook.txt"')
            store = await client.post("/vector_stores", {"name": "Handbooks", "file_ids": [file["id"]]})
            await _indexed(client, store["id"])
            self.model.script(
                calls(("file_search", {"query": "lighthouse built"})), says("In 1828 【1:0†handbook.txt】.")
            )
            resources = {"file_search": {"vector_store_ids": [store["id"]]}}
            question = "When was the lighthouse built?"
            return await _run(client, question, tools=[{"type": "file_search"}], tool_resources=resources)

    async def cancelled(self) -> str:
        self.model.script(says("This is never said to its end").waits("cancel", before=2))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            run = await _start(client, "Tell me a story.")
            await self.model.wait_for_gate("cancel")
            await client.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
            self.model.open_gate("cancel")
            return await _end(client, run, "cancelled")

    async def expired(self) -> str:
        self.model.script(says("This takes too long").waits("expire", before=2))
        async with self.server(CODE_INTERPRETER="off", RUN_EXPIRES_S="2") as (client, _):
            run_id = await _end(client, await _start(client, "Hurry."), "expired")
            self.model.open_gate("expire")
            return run_id

    async def expired_waiting(self) -> str:
        """A run whose client never submits its tool outputs."""
        self.model.script(calls(("weather", {"city": "Paris"})))
        async with self.server(CODE_INTERPRETER="off", RUN_EXPIRES_S="3") as (client, _):
            run = await _start(client, "How is the weather?", tools=[WEATHER])
            await _end(client, run, "requires_action")
            return await _end(client, await _until(client, run, "expired"), "expired")

    async def failed(self) -> str:
        self.model.script(errors(400))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            return await _end(client, await _start(client, "Hello?"), "failed")

    async def retried(self) -> str:
        """A run whose model server breaks off twice in the middle of an answer."""
        self.model.script(breaks_after(3, "It is sunny today."), breaks_after(2, "It is rainy."), says("It is cold."))
        return await self._whole_run("How is the weather?")

    async def incomplete(self) -> str:
        self.model.script(cuts_off("This is cut"))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            run = await _start(client, "Tell me everything.", max_completion_tokens=300)
            return await _end(client, run, "incomplete")

    async def resumed(self) -> str:
        """A run whose server is killed in the middle of an answer, and which the next server goes on with."""
        self.model.script(says("one two three").waits("crash", before=3), says("Whole."))
        async with self.server(CODE_INTERPRETER="off") as (client, process):
            run = await _start(client, "Count.")
            await self.model.wait_for_gate("crash")
            process.send_signal(signal.SIGKILL)
            await process.wait()
        self.model.open_gate("crash")
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            return await _end(client, run, "completed")

    async def released(self) -> str:
        """A run whose server stops in order in the middle of an answer."""
        self.model.script(says("one two three").waits("stop", before=3), says("Whole."))
        async with self.server(CODE_INTERPRETER="off") as (client, process):
            run = await _start(client, "Count.")
            await self.model.wait_for_gate("stop")
            process.terminate()
            await process.wait()
        self.model.open_gate("stop")
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            return await _end(client, run, "completed")

    async def queued(self) -> str:
        """A run that waited behind another one of its thread."""
        self.model.script(says("First answer.").waits("queue"), says("Second answer."))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            first = await _start(client, "First?")
            await self.model.wait_for_gate("queue")
            path = f"/threads/{first['thread_id']}"
            for below, body in (
                ("/messages", {"role": "user", "content": "Second?"}),
                ("/runs", {"assistant_id": first["assistant_id"]}),
            ):
                answer = await client.call("POST", path + below, body, headers=QUEUE)
                assert answer.status == 200, answer.body
            self.model.open_gate("queue")
            return await _end(client, answer.body, "completed")

    async def v1(self) -> str:
        self.model.script(says("From version 1."))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            file = await files.upload(client, HANDBOOK, filename='filename="v1.txt"')
            client.headers["OpenAI-Beta"] = V1
            body = {"model": "scripted", "tools": [{"type": "retrieval"}], "file_ids": [file["id"]]}
            assistant = await client.post("/assistants", body)
            asked = {"role": "user", "content": "Hi", "file_ids": [file["id"]]}
            thread = await client.post("/threads", {"messages": [asked]})
            run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
            return await _end(client, run, "completed")

    async def truncated(self) -> str:
        """A run whose thread has more text than its prompt may have."""
        self.model.script(says("Yes."))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            said = [{"role": "user", "content": f"Question {n}. " + "What do you think of it? " * 30} for n in range(6)]
            return await _run(client, "Do you agree?", said=said, max_prompt_tokens=600)

    async def last_messages(self) -> str:
        """A run that reads the last two messages only."""
        self.model.script(says("Yes."))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            said = [{"role": "user", "content": f"Question {n}."} for n in range(5)]
            strategy = {"type": "last_messages", "last_messages": 2}
            return await _run(client, "Do you agree?", said=said, truncation_strategy=strategy)

    async def edited(self) -> str:
        """A run whose thread has changed and deleted messages and metadata, before it and after it."""
        self.model.script(says("I see."))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            run = await _start(client, "Read this.", said=[{"role": "user", "content": "Forget this."}])
            path = f"/threads/{run['thread_id']}"
            await _end(client, run, "completed")
            newest, *_, oldest = (await client.get(path + "/messages"))["data"]
            await client.post(path, {"metadata": {"user": "ann"}})
            await client.post(f"{path}/messages/{newest['id']}", {"metadata": {"seen": "yes"}})
            await client.delete(f"{path}/messages/{oldest['id']}")
            self.model.script(says("I still see."))
            again = await client.post(path + "/runs", {"assistant_id": run["assistant_id"], "metadata": {"n": "2"}})
            await _end(client, again, "completed")
            await client.post(f"{path}/runs/{again['id']}", {"metadata": {"n": "3"}})
            return str(again["id"])

    async def imported(self) -> str:
        """A run in a fork of a thread that has messages, a run and its steps."""
        self.model.script(calls(("weather", {"city": "Paris"}), text="I look."), says("Rain in Paris."))
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            run = await client.settled(await _start(client, "How is the weather?", tools=[WEATHER]))
            wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in wanted]
            path = f"/threads/{run['thread_id']}"
            await client.post(f"{path}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs})
            await _end(client, run, "completed")
            fork = await client.post(f"{path}/fork", {})
            self.model.script(says("Still rain."))
            await client.post(f"/threads/{fork['id']}/messages", {"role": "user", "content": "And now?"})
            again = await client.post(f"/threads/{fork['id']}/runs", {"assistant_id": run["assistant_id"]})
            return await _end(client, again, "completed")

    async def _whole_run(self, text: str) -> str:
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            return await _run(client, text)

    async def _run_with_outputs(self) -> str:
        async with self.server(CODE_INTERPRETER="off") as (client, _):
            run = await client.settled(await _start(client, "How is the weather?", tools=[WEATHER]))
            wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            outputs = [{"tool_call_id": call["id"], "output": "rain"} for call in wanted]
            path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
            await client.post(path, {"tool_outputs": outputs})
            return await _end(client, run, "completed")


KINDS = (
    *("text", "functions", "parallel", "code", "search", "cancelled", "expired"),
    *(
        "expired_waiting",
        "failed",
        "retried",
        "incomplete",
        "resumed",
        "released",
        "queued",
        "v1",
        "truncated",
        "last_messages",
        "edited",
        "imported",
        "embedded",
    ),
)


async def _base_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        if b"OPENAI_BASE_URL=" in line:
            return line.decode().split("OPENAI_BASE_URL=", 1)[1].strip()
    raise RuntimeError("the server ended before it was ready")


async def _start(client: Client, text: str, *, said: list[Json] | None = None, **settings: Any) -> Json:
    """Starts a run that answers the text. `said` are the messages before it."""
    assistant_settings: Json = {name: settings.pop(name) for name in ("tools", "tool_resources") if name in settings}
    model = settings.pop("model", "scripted")
    body: Json = {"model": model, "instructions": "Be brief.", **assistant_settings}
    assistant = await client.post("/assistants", body)
    thread = await client.post("/threads", {"messages": [*(said or []), {"role": "user", "content": text}]})
    run: Json = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **settings})
    return run


async def _run(client: Client, text: str, **settings: Any) -> str:
    """Starts a run, waits until it has answered, and returns its id."""
    run = await client.settled(await _start(client, text, **settings))
    assert run["status"] in ("completed", "incomplete"), run
    return str(run["id"])


async def _end(client: Client, run: Json, status: str) -> str:
    """Waits until the run has settled with this status, and returns its id."""
    done = await client.settled(run)
    assert done["status"] == status, done
    return str(run["id"])


async def _indexed(client: Client, store_id: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not (await client.get(f"/vector_stores/{store_id}"))["file_counts"]["completed"]:  # noqa: ASYNC110 – another process
            await asyncio.sleep(0.1)


async def _until(client: Client, run: Json, status: str) -> Json:
    """Waits until the run has this status."""
    async with asyncio.timeout(WAIT_S):
        while (found := await client.settled(run))["status"] != status:  # noqa: ASYNC110 – another process
            await asyncio.sleep(0.1)
    return dict(found)


async def record_all(folder: Path, kinds: list[str], home: Path) -> None:
    """Makes a run of each kind, and writes it to the folder."""
    async with BenchPostgres.started(home) as postgres, ScriptedServer() as model:
        url = postgres.url("everthread")
        await prepare_database(url)
        pool = await open_pool(url)
        maker = RunMaker(url, home, model)
        for kind in kinds:
            run_id: str = await getattr(maker, kind)()
            lines = list(record_lines(await load_run(pool, run_id)))
            (folder / f"{kind}.jsonl").write_bytes(b"".join(lines))
            print(f"{kind}: {run_id}, {len(lines)} events", flush=True)
        await pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/record_run --all", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=CORPUS)
    parser.add_argument("--only", choices=KINDS, action="append", help="this kind; may be repeated")
    given = parser.parse_args()
    client_module.WAIT_S = WAIT_S  # a machine with other work answers slowly
    given.folder.mkdir(parents=True, exist_ok=True)
    with temporary_home() as home:
        asyncio.run(record_all(given.folder, given.only or list(KINDS), home))


if __name__ == "__main__":
    main()
