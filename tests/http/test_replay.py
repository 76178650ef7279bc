"""GET /v1/threads/{thread_id}/runs/{run_id}/replay: what `everthread replay RUN --json` prints, in pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from events.thread.state import evolve
from service.cli import admin
from service.database import Pool
from service.replay import kept_folds, replay_pages, run_timeline, time_travel
from service.replay.model_lookup import open_lookup
from service.replay.replay_pages import ReplayPages
from service.replay.time_travel import ReplayBusy, TimeTravel, Viewer
from service.wire.replay import ReplayEntry
from tests.audit.test_acts import recorded
from tests.cli.test_keys import everthread
from tests.client import V1, V2, Client
from tests.clock import CLOCK, IDS
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, calls, errors, says

WEATHER = {"type": "function", "function": {"name": "weather", "description": "Says the weather."}}
MODELS = '[[models]]\nmatch = ["gpt-4o"]\n[[models.prices]]\ninput = 100\noutput = 1000\n'


async def finished_run(client: Client, model: ScriptedServer, instructions: str = "Be brief.") -> tuple[Any, str]:
    """Returns a run with a failed attempt, a call of a function and an answer, and the path of its timeline."""
    model.script(errors(503, {"error": {"message": "busy"}}), calls(("weather", {"city": "Rome"}), usage=(20, 2)))
    run = await client.settled(await run_of(client, "QUESTION", tools=[WEATHER], instructions=instructions))
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    model.script(says("It rains.", usage=(40, 3)))
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"}]}
    return await client.settled(await client.post(f"{path}/submit_tool_outputs", outputs)), f"{path}/replay"


async def all_pages(client: Client, path: str, **query: str) -> list[list[Any]]:
    """Returns the entries of each page, to the last one."""
    pages: list[list[Any]] = []
    after = "0"
    while True:
        page = await client.get(path, after=after, **query)
        pages.append(page["data"])
        assert page["last_version"] == page["data"][-1]["version"]
        if not page["has_more"]:
            return pages
        after = str(page["last_version"])


def joined(pages: list[list[Any]]) -> list[Any]:
    return [entry for page in pages for entry in page]


@pytest.mark.slow
async def test_pages_hold_what_the_command_prints(
    start_server: StartServer, model: ScriptedServer, database_url: str, tmp_path: Path
) -> None:
    models = tmp_path / "prices.toml"
    models.write_text(MODELS)
    settings = {"EVERTHREAD_DATABASE_URL": database_url, "EVERTHREAD_MODELS": str(models)}
    async with start_server(models=models) as client:
        run, path = await finished_run(client, model)
        code, output, _ = await asyncio.to_thread(everthread, "replay", run["id"], "--json", **settings)
        printed = [orjson.loads(line) for line in output.splitlines()]
        assert code == 0
        assert printed[-1]["cost"]["total"] == "0.011"
        for beta in (V2, V1):
            client.headers["OpenAI-Beta"] = beta
            for limit in ("1", "3", "100"):
                pages = await all_pages(client, path, limit=limit)
                assert joined(pages) == printed
                assert all(len(page) == int(limit) for page in pages[:-1])
    ended = [entry for entry in printed if entry["type"] == "model_call.finished"]
    assert [entry["prompt"]["body"].encode() for entry in ended] == [model.bodies[-2], model.bodies[-1]]
    assert all(part["tokens"] > 0 for part in ended[-1]["prompt"]["parts"])


async def test_a_run_that_goes_on(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})))
    run = await client.settled(await run_of(client, "QUESTION", tools=[WEATHER]))
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    before = await client.get(f"{path}/replay", limit="100")
    last = str(before["last_version"])
    empty: dict[str, Any] = {"object": "list", "data": [], "last_version": None, "has_more": False}
    assert await client.get(f"{path}/replay", after=last) == empty
    await client.post(f"{path}/cancel")
    page = await client.get(f"{path}/replay", after=last)
    assert page["data"][-1]["type"] == "run.cancelled"
    assert joined(await all_pages(client, f"{path}/replay")) == [*before["data"], *page["data"]]


async def test_a_page_ends_at_its_bytes(client: Client, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = await finished_run(client, model)
    whole = joined(await all_pages(client, path, limit="100"))
    monkeypatch.setattr(replay_pages, "MAX_PAGE_BYTES", 4_000)
    pages = await all_pages(client, path, limit="100")
    assert joined(pages) == whole
    assert len(pages) > 1
    assert all(len(page) == 1 or len(orjson.dumps(page)) <= 4_100 for page in pages)
    monkeypatch.setattr(replay_pages, "MAX_PAGE_BYTES", 1)
    assert await all_pages(client, path) == [[entry] for entry in whole]


@pytest.mark.parametrize("most", [10, 8_000])
async def test_a_prompt_above_the_limit_is_left_out(
    client: Client, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """10 bytes are less than the history, and 8,000 bytes more than that and less than an entry with its prompt."""
    _, path = await finished_run(client, model, instructions="Be brief. " * 1_000)
    whole = joined(await all_pages(client, path))
    assert sum("prompt" in entry for entry in whole) == 2
    monkeypatch.setattr(replay_pages, "MAX_ENTRY_BYTES", most)
    cut = [{**entry, "prompt": None} if "prompt" in entry else entry for entry in whole]
    assert joined(await all_pages(client, path)) == cut


async def test_deleted_contents_need_the_scope_for_them(client: Client, pool: Pool, model: ScriptedServer) -> None:
    run, path = await finished_run(client, model)
    thread = f"/threads/{run['thread_id']}"
    whole = joined(await all_pages(client, path))
    async with await as_key(client, pool, scope="audit:content") as auditor:
        for message in (await client.get(f"{thread}/messages"))["data"]:
            await client.delete(f"{thread}/messages/{message['id']}")
        found = orjson.dumps(await all_pages(client, path)).decode()
        assert "QUESTION" not in found
        assert "It rains" not in found
        assert "[deleted]" in found
        assert joined(await all_pages(auditor, path)) == whole
        await auditor.get(f"{thread}/messages", at="5")
        paths = [read["path"] for read in await recorded(pool, "audit.read")]
        assert {f"/v1{path}", f"/v1{thread}/messages?at=5"} == set(paths)
        await client.delete(thread)
        answer = await client.call("GET", path)
        assert answer.error == (404, f"No thread found with id '{run['thread_id']}'.", None, None)
        assert joined(await all_pages(auditor, path)) == whole


async def test_who_may_read_it(client: Client, pool: Pool, model: ScriptedServer) -> None:
    run, path = await finished_run(client, model)
    async with await as_key(client, pool, scope="read") as reader:
        assert (await reader.get(path))["data"][0]["type"] == "run.created"
    async with await as_key(client, pool, scope="audit") as auditor:
        assert (await auditor.call("GET", path)).status == 403
    await admin.create_project(writer(pool), "other", ids=IDS)
    async with await as_key(client, pool, "other", "audit:content") as other:
        answer = await other.call("GET", path)
        assert answer.error == (404, f"No thread found with id '{run['thread_id']}'.", None, None)


async def test_a_run_that_is_none(client: Client, model: ScriptedServer) -> None:
    run, path = await finished_run(client, model)
    thread = await client.post("/threads")
    for wrong, missing in (
        (path.replace(run["id"], "run_none"), "run found with id 'run_none'"),
        (path.replace(run["thread_id"], "thread_none"), "thread found with id 'thread_none'"),
        (path.replace(run["thread_id"], thread["id"]), f"run found with id '{run['id']}'"),
    ):
        get_of_run = await client.call("GET", wrong.removesuffix("/replay"))
        answer = await client.call("GET", wrong)
        assert answer.error == get_of_run.error == (404, f"No {missing}.", None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "101"), ("limit", "x"), ("after", "-1"), ("after", "evt_1"), ("after", "9" * 30)],
)
async def test_parameters_that_are_none(client: Client, name: str, value: str) -> None:
    answer = await client.call("GET", f"/threads/thread_1/runs/run_1/replay?{name}={value}")
    assert (answer.status, *answer.error[2:]) == (400, name, "invalid_value")


async def test_projects_share_the_places_for_folds(
    client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = await finished_run(client, model)
    monkeypatch.setattr(time_travel, "MAX_WAIT_S", 0.01)
    travel = TimeTravel(pool, CLOCK)
    pages, own = ReplayPages(travel, open_lookup(None, None)), Viewer(await project_of(pool, run), sees_deleted=False)
    async with travel.place(Viewer("other", sees_deleted=False)):
        found = await pages.read(own, run["thread_id"], run["id"], after=0, limit=100)
        assert found.items[-1].version == (await client.get(path, limit="100"))["last_version"]
    async with travel.place(own):
        with pytest.raises(ReplayBusy):
            await pages.read(own, run["thread_id"], run["id"], after=0, limit=100)


async def test_pages_go_on_where_the_last_one_ended(
    client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages together fold each event of the thread once, also while the run goes on."""
    model.script(*(calls(("weather", {})) for _ in range(9)), says("Done."))
    run = await run_of(client, "QUESTION", tools=[WEATHER])
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    folded: list[int] = []

    def counted(state: Any, recorded: Any) -> Any:
        folded.append(recorded.version)
        return evolve(state, recorded)

    monkeypatch.setattr(run_timeline, "evolve", counted)
    pages = ReplayPages(TimeTravel(pool, CLOCK), open_lookup(None, None))
    viewer, found = Viewer(await project_of(pool, run), sees_deleted=False), list[ReplayEntry]()

    async def read_on(limit: int) -> None:
        more = True
        while more:
            last = found[-1].version if found else 0
            page = await pages.read(viewer, run["thread_id"], run["id"], after=last, limit=limit)
            found.extend(page.items)
            more = page.more

    while (run := await client.settled(run))["status"] == "requires_action":
        await read_on(limit=3)
        [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"}]}
        run = await client.post(f"{path}/submit_tool_outputs", outputs)
    await read_on(limit=1)
    newest = await pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", run["thread_id"])
    assert folded == list(range(1, newest + 1))
    whole = joined(await all_pages(client, f"{path}/replay", limit="100"))
    assert [orjson.loads(entry.json) for entry in found] == whole
    behind = await pages.read(viewer, run["thread_id"], run["id"], after=found[4].version, limit=2)
    assert [entry.version for entry in behind.items] == [entry.version for entry in found[5:7]]


async def test_kept_folds_are_bounded(
    client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = await finished_run(client, model)
    pages = ReplayPages(TimeTravel(pool, CLOCK), open_lookup(None, None))
    project = await project_of(pool, run)

    async def read(*, sees_deleted: bool = False) -> None:
        await pages.read(Viewer(project, sees_deleted=sees_deleted), run["thread_id"], run["id"], after=0, limit=1)

    await read()
    await read(sees_deleted=True)
    assert len(pages.folds) == 2
    monkeypatch.setattr(kept_folds, "MAX_FOLDS", 1)
    await read()
    assert len(pages.folds) == 1
    monkeypatch.setattr(kept_folds, "MAX_BYTES", 1)
    await read()
    assert len(pages.folds) == 0
    monkeypatch.undo()
    monkeypatch.setattr(kept_folds, "KEEP_S", 0)
    await read()
    while len(pages.folds):
        await asyncio.sleep(0)


async def project_of(pool: Pool, run: Any) -> str:
    return str(await pool.fetchval("SELECT project_id FROM streams WHERE stream_id = $1", run["thread_id"]))
