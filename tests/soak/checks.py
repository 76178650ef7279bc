"""The laws that hold after a soak: nothing acknowledged is lost, nothing is doubled, and nothing is stuck."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tests.client import TERMINAL
from tests.soak.api import Api, Refused
from tests.soak.hostile_model import HostileModel, ModelRecord
from tests.soak.installation import Installation
from tests.soak.ledger import FileRecord, Ledger, PostRecord, RunRecord, ThreadRecord

PAGE = 100
READERS = 6
# Seconds within which all runs and all indexing end after the last fault. Runs expire before.
SETTLE_S = 330.0
POLL_S = 0.5
# Work that dies with its process again and again is given up, as documented.
GIVEN_UP = ("Indexing was begun", "more memory or time than reading", "was broken off 5 times")
UNFINISHED = {
    "runs": "SELECT count(*) FROM active_runs",
    "files": "SELECT count(*) FROM vector_store_files WHERE status = 'in_progress'",
}


@dataclass(slots=True)
class Verdict:
    """The faults by law, and counts of what was compared."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.wrong)


async def wait_until_settled(installation: Installation, verdict: Verdict) -> None:
    """Waits until no run and no indexing is unfinished."""
    until = monotonic() + SETTLE_S
    db = await installation.database()
    try:
        for name, query in UNFINISHED.items():
            while (left := await db.fetchval(query)) and monotonic() < until:
                await asyncio.sleep(POLL_S)
            if left:
                verdict.stuck.append(f"{left} {name} have not ended {SETTLE_S:.0f} s after the last fault")
    finally:
        await db.close()


async def compare_ledger(api: Api, ledger: Ledger, model: HostileModel, verdict: Verdict) -> None:
    """Compares all that was acknowledged with what the server has now."""
    threads, files, assistants = iter(ledger.threads), iter(ledger.files), iter(ledger.assistants.items())
    stores = await _store_files(api, ledger)

    async def work() -> None:
        for thread in threads:
            try:
                await _check_thread(api, thread, model.record, verdict)
            except Refused as error:
                verdict.lost.append(f"thread {thread.id}: {error}")
        for file in files:
            await _check_file(api, file, stores, verdict)
        for id, name in assistants:
            await _check_assistant(api, id, name, verdict)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(READERS):
            tasks.create_task(work())
    for id in ledger.deleted:
        verdict.compared["deletions"] += 1
        try:
            await api.get(f"/assistants/{id}")
            verdict.lost.append(f"the deletion of {id}")
        except Refused:
            pass
    verdict.wrong += ledger.faults
    verdict.doubled += model.record.faults


async def _check_thread(api: Api, thread: ThreadRecord, model: ModelRecord, verdict: Verdict) -> None:
    verdict.compared["threads"] += 1
    found = await api.get(f"/threads/{thread.id}")
    step = found["metadata"].get("step")
    if step != thread.step and step not in thread.unsure_steps:
        verdict.lost.append(f"metadata {thread.step} of {thread.id}; it is {step}")
    messages = await _all(api, f"/threads/{thread.id}/messages")
    _check_posts(thread, [each for each in messages if each["role"] == "user"], verdict)
    runs = {run["id"]: run for run in await _all(api, f"/threads/{thread.id}/runs")}
    known = [run for run in thread.runs if run.id is not None]
    for run in known:
        assert run.id is not None
        if run.id not in runs:
            verdict.lost.append(f"run {run.id} of {thread.id}")
            continue
        answers = [each for each in messages if each["run_id"] == run.id]
        if runs[run.id]["status"] == "expired" and run.was_left:
            steps = await _all(api, f"/threads/{thread.id}/runs/{run.id}/steps")
            run.waited_for_client = has_open_function(steps)
        _check_run(run, runs[run.id], answers, model, verdict)
        if run.outputs:
            await _check_outputs(api, thread, run, verdict)
    # Each record of a run without an id stands for one that may exist.
    if len(runs) > len(thread.runs) or len(runs) < len(known):
        verdict.doubled.append(f"{thread.id} has {len(runs)} runs, and {len(thread.runs)} were requested")


def _check_posts(thread: ThreadRecord, messages: Sequence[Any], verdict: Verdict) -> None:
    """The messages of the user are those of the ledger, once and in order; a message without an answer may miss."""
    texts = [each["content"][0]["text"]["value"] for each in messages]
    for post in thread.posts:
        verdict.compared["messages"] += 1
        count = texts.count(post.text)
        if count > 1:
            verdict.doubled.append(f"message {post.marker} of {thread.id} {count} times")
        if post.id is not None and (post.id, post.text) not in {
            (m["id"], t) for m, t in zip(messages, texts, strict=True)
        }:
            verdict.lost.append(f"message {post.marker} ({post.id}) of {thread.id}")
    expected = [post.text for post in thread.posts if post.text in texts]
    if texts != expected and len(set(texts)) == len(texts):
        verdict.wrong.append(f"the messages of {thread.id} are out of order: {texts}")


def _check_run(run: RunRecord, found: Any, answers: Sequence[Any], model: ModelRecord, verdict: Verdict) -> None:
    verdict.compared["runs"] += 1
    status = found["status"]
    verdict.statuses[status] += 1
    if status not in TERMINAL:
        verdict.stuck.append(f"run {run.id} is {status}")
        return
    if run.statuses - {status}:
        verdict.lost.append(f"the status {run.statuses} of {run.id}, which is {status} now")
    if status in ("failed", "expired"):
        error = found["last_error"]
        verdict.errors[f"{status}: {error['message'][:100] if error else None}"] += 1
        is_given_up = error is not None and any(reason in error["message"] for reason in GIVEN_UP)
        if run.key not in model.badly_answered and not is_given_up and not run.waited_for_client:
            verdict.wrong.append(f"run {run.id} {status} though the model answered well: {error}")
    whole = [each for each in answers if each.get("status", "completed") == "completed"]
    texts = [_value(each) for each in whole]
    if status == "completed" and len(whole) != 1:
        verdict.doubled.append(f"the completed run {run.id} has {len(whole)} whole answers: {texts}")
    for message, text in zip(whole, texts, strict=True):
        if model.said.get(text) != run.key:
            verdict.wrong.append(f"the model never said {text[:80]!r} to {run.key}")
        streamed = run.streamed.get(message["id"])
        if streamed is not None and streamed != text:
            verdict.wrong.append(f"the stream of {run.id} showed {streamed!r} instead of {text!r}")


def has_open_function(steps: Sequence[Any]) -> bool:
    """Whether the newest step has a function without an output, for which its run waited until it expired."""
    details: Any = steps[-1]["step_details"] if steps else {"type": "none"}
    return details["type"] == "tool_calls" and any(
        call["type"] == "function" and call["function"]["output"] is None for call in details["tool_calls"]
    )


async def _check_outputs(api: Api, thread: ThreadRecord, run: RunRecord, verdict: Verdict) -> None:
    steps = await _all(api, f"/threads/{thread.id}/runs/{run.id}/steps")
    shown = [
        (call["id"], call["function"]["output"])
        for step in steps
        if step["type"] == "tool_calls"
        for call in step["step_details"]["tool_calls"]
        if call["type"] == "function"
    ]
    for output in run.outputs.items():
        verdict.compared["tool outputs"] += 1
        if shown.count(output) != 1:
            verdict.lost.append(f"the output {output} of {run.id}: {shown}")


async def _check_file(
    api: Api, file: FileRecord, stores: dict[tuple[str, str], tuple[str, str]], verdict: Verdict
) -> None:
    verdict.compared["files"] += 1
    try:
        content = await api.send_raw("GET", f"/files/{file.id}/content")
    except Refused as error:
        if b"not allowed to download" not in error.body:
            verdict.lost.append(f"file {file.id}: {error}")
            return
        content = file.content
    if content != file.content:
        verdict.wrong.append(f"file {file.id} has other bytes")
    if file.store_id is not None:
        status, cause = stores.get((file.store_id, file.id), ("missing", ""))
        verdict.compared["indexed files"] += 1
        if status == "failed" and any(reason in cause for reason in GIVEN_UP):
            verdict.errors[f"file {status}: {cause}"] += 1
        elif status != "completed":
            verdict.lost.append(f"the indexing of {file.id} in {file.store_id}: {status} {cause}")


async def _store_files(api: Api, ledger: Ledger) -> dict[tuple[str, str], tuple[str, str]]:
    """Returns the status and the error of each file in each vector store."""
    ids = {file.store_id for file in ledger.files if file.store_id is not None}
    return {
        (id, file["id"]): (file["status"], (file["last_error"] or {}).get("message", ""))
        for id in sorted(ids)
        for file in await _all(api, f"/vector_stores/{id}/files")
    }


async def _check_assistant(api: Api, id: str, name: str, verdict: Verdict) -> None:
    verdict.compared["assistants"] += 1
    try:
        if (await api.get(f"/assistants/{id}"))["name"] != name:
            verdict.wrong.append(f"assistant {id} has another name")
    except Refused:
        verdict.lost.append(f"assistant {id}")


async def _all(api: Api, path: str) -> list[Any]:
    """Returns all objects of a list, the oldest first."""
    found: list[Any] = []
    query = {"limit": str(PAGE), "order": "asc"}
    while True:
        page = await api.get(path, **query)
        found += page["data"]
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


def _value(message: Any) -> str:
    return "".join(part["text"]["value"] for part in message["content"] if part["type"] == "text")


def unsent(posts: Sequence[PostRecord]) -> int:
    """Returns how many messages were never acknowledged."""
    return sum(post.id is None for post in posts)
