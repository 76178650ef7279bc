"""Runs Schemathesis with both OpenAPI documents against a running server.

Positive cases are requests that a document allows, negative ones requests that it forbids. No case may lead to a 5xx,
to an answer or frame outside its schema (tests/wire/validation.py), or to an answer without a request id. Half of the
ids are ids of existing objects, so that requests get past the 404.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import cache, partial
from typing import Any, TypeVar

import orjson
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from tests.client import KEY
from tests.server_process import running
from tests.wire.documents import SPEC, as_json_schema, document
from tests.wire.validation import problems_of_answer, problems_of_frame

VERSIONS = ("v1", "v2")
ANSWER_S = 60.0  # seconds for one answer on a busy machine; a stream waits for its run
# Values of the documents that Schemathesis misreads: version, path, the value that it understands.
MENDED: list[tuple[str, tuple[str, ...], Any]] = [
    # Without this, a quarter of the requests have no key and get only the 401.
    ("v1", ("security",), []),
    ("v2", ("security",), []),
]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
T = TypeVar("T")
Ids = dict[str, str]


@cache
def operations(version: str) -> dict[str, Any]:
    """Returns the operations of the document, by names such as "GET /assistants"."""
    schema: Any = schemathesis.openapi.from_dict(to_json_schemas(version))
    found = [one.ok() for one in schema.get_all_operations()]  # ok() raises an error if an operation cannot be read
    return {f"{one.method.upper()} {one.path}": one for one in found}


def to_json_schemas(version: str) -> dict[str, Any]:
    """Returns the document with JSON schemas throughout, and with the deviations of tests/wire/documents.py."""
    raw = yaml.load((SPEC / f"assistants-{version}.openapi.yaml").read_text(), yaml.CSafeLoader)
    components = {**raw["components"], **document(version)["components"]}
    found = {**as_json_schema({**raw, "components": {}}), "openapi": "3.1.0", "components": components}
    for of, (*path, last), value in MENDED:
        if of == version:
            inside: Any = found
            for key in path:
                inside = inside[key]
            inside[last] = value
    return found


class Target:
    """A server at `base_url`, which gets requests of one version, one after the other."""

    def __init__(self, base_url: str, version: str) -> None:
        self.base_url = base_url
        self.version = version
        self.asked = 0
        self._session = requests.Session()
        self._headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": f"assistants={version}"}

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        sent = more or {"json": body or {}}
        made = self._session.post(self.base_url + path, headers=self._headers, timeout=ANSWER_S, **sent)
        assert made.status_code == 200, made.text
        return made.json()

    def world(self) -> Ids:
        """Creates one object of each type. Returns their ids by the names that paths and bodies use."""
        assistant = self.post("/assistants", {"model": "m", "instructions": "Be.", "tools": [WEATHER]})["id"]
        thread = self.post("/threads", {"messages": [{"role": "user", "content": "Hi"}]})["id"]
        run = self.post(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"]
        while True:
            page = self._get(f"/threads/{thread}/runs/{run}")
            if page["status"] in ("completed", "failed"):
                break
        [step] = self._get(f"/threads/{thread}/runs/{run}/steps")["data"]
        [message] = self._get(f"/threads/{thread}/messages?limit=1")["data"]
        file = self.post("/files", files={"file": ("a.txt", b"text")}, data={"purpose": "assistants"})["id"]
        asked = {"filename": "f", "bytes": 1, "mime_type": "text/plain", "purpose": "assistants"}
        upload = self.post("/uploads", asked)["id"]
        found = {"assistant": assistant, "thread": thread, "run": run, "step": step["id"], "message": message["id"]}
        return {f"{name}_id": id for name, id in {**found, "file": file, "upload": upload}.items()}

    def _get(self, path: str) -> Any:
        return self._session.get(self.base_url + path, headers=self._headers, timeout=ANSWER_S).json()

    def try_out(self, case: Any) -> list[str]:
        """Sends a case. Returns the problems of the answer."""
        self.asked += 1
        response = case.call(base_url=self.base_url, headers=self._headers, session=self._session, timeout=ANSWER_S)
        found = [] if response.status_code < 500 else [f"status {response.status_code}"]
        if not response.headers.get("x-request-id", [""])[0].startswith("req_"):
            found.append("no x-request-id")
        path = response.request.path_url.removeprefix("/v1")
        kind = response.headers.get("content-type", [""])[0]
        if kind.startswith("text/event-stream"):
            return found + self._frames(response.content)
        if response.status_code == 200 and path.partition("?")[0].endswith("/content"):
            return found  # the bytes of a file
        body = orjson.loads(response.content)
        return found + problems_of_answer(self.version, case.method.upper(), path, response.status_code, body)

    def _frames(self, raw: bytes) -> list[str]:
        *frames, rest = raw.split(b"\n\n")
        found = ["a stream ended in the middle of a frame"] if rest else []
        for frame in frames:
            fields = dict(line.split(": ", 1) for line in frame.decode().split("\n"))
            data = fields["data"] if fields["data"] == "[DONE]" else orjson.loads(fields["data"])
            found += problems_of_frame(self.version, fields["event"], data)
        return found


def fuzz(target: Target, name: str, examples: int, *, random_seed: int | None = None) -> list[str]:
    """Tries an operation with `examples` requests that its document allows, and as many that it forbids.

    The cases are always the same, or those of `random_seed`. Returns the failures, each with a curl command.
    """
    operation = operations(target.version)[name]
    ids = target.world()
    failures: list[str] = []
    for mode in schemathesis.GenerationMode:
        if mode.is_negative and not (operation.body or operation.query):
            continue  # every text is a valid id, so there is nothing to forbid

        @settings(
            max_examples=examples,
            deadline=None,  # the machine may be busy
            derandomize=random_seed is None,
            database=None,
            phases=[Phase.generate],  # reports each failure as it is, without shrinking or storing it
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(operation.as_strategy(generation_mode=mode), st.data())
        def once(case: Any, data: st.DataObject) -> None:
            make_real(case, ids, lambda: data.draw(st.booleans()))
            wrong = target.try_out(case)
            if wrong:
                failures.append(f"{target.version} {name}: {'; '.join(wrong)}\n    {case.as_curl_command()}")

        (once if random_seed is None else seed(random_seed)(once))()
    return failures


def make_real(case: Any, ids: Ids, chosen: Callable[[], bool]) -> None:
    """Replaces some of the generated ids by ids of existing objects."""
    for place in (case.path_parameters, case.body):
        if isinstance(place, dict):
            for key in place:
                if key in ids and chosen():
                    place[key] = ids[key]


@contextmanager
def run_in_background(opened: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Keeps an asynchronous context open on the event loop of another thread, for synchronous callers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    held = opened()
    try:
        yield asyncio.run_coroutine_threadsafe(held.__aenter__(), loop).result()
        asyncio.run_coroutine_threadsafe(held.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def fuzz_all(base_url: str, version: str, examples: int, random_seed: int | None = None) -> list[str]:
    """Tries every operation of a document and prints its progress. Returns the failures."""
    target = Target(base_url, version)
    failures: list[str] = []
    for name in operations(version):
        before = target.asked
        found = fuzz(target, name, examples, random_seed=random_seed)
        print(
            f"{'✗' if found else '✓'} {version} {name}: {target.asked - before} requests", *found, sep="\n", flush=True
        )
        failures += found
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description="Schemathesis over both documents, against a server of its own.")
    parser.add_argument(
        "--examples", type=int, default=50, help="of each kind an operation; the tests make do with few"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="to see a run's cases again")
    parser.add_argument("--version", choices=VERSIONS, action="append", help="both by default")
    given = parser.parse_args()
    print(f"--examples {given.examples} --seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="everthread-") as home:
        opened = partial(running, EVERTHREAD_DATA_DIR=home + "/data")
        with run_in_background(opened) as (base_url, _):
            failures = [
                one
                for version in given.version or VERSIONS
                for one in fuzz_all(base_url, version, given.examples, given.seed)
            ]
    sys.exit(f"{len(failures)} failures" if failures else 0)


if __name__ == "__main__":
    main()
