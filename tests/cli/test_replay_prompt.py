"""`everthread replay` shows the prompt that was sent with its tokens and costs, and hides what was deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.test_keys import everthread
from tests.client import Client
from tests.http.helpers import run_of
from tests.scripted import ScriptedServer, errors, says

pytestmark = pytest.mark.slow

WEATHER = {"type": "function", "function": {"name": "weather", "description": "Says the weather."}}
MODELS = '[[models]]\nmatch = ["gpt-4o"]\n[[models.prices]]\ninput = 100\noutput = 1000\n'


async def test_the_prompt_the_costs_and_deleted_messages(
    client: Client, model: ScriptedServer, database_url: str, tmp_path: Path
) -> None:
    models = tmp_path / "prices.toml"
    models.write_text(MODELS)

    async def replay(*arguments: str) -> tuple[int, str, str]:
        settings = {"EVERTHREAD_DATABASE_URL": database_url, "EVERTHREAD_MODELS": str(models)}
        return await asyncio.to_thread(everthread, "replay", *arguments, **settings)

    model.script(errors(503, {"error": {"message": "busy"}}), says("It rains.", usage=(40, 3)))
    run = await client.settled(await run_of(client, "QUESTION", tools=[WEATHER], instructions="Be brief."))
    code, output, _ = await replay(run["id"])
    assert code == 0
    for expected in (
        "prompt as it was sent (checked by its hash)",
        "system, 7 tokens",
        "Be brief.",
        "weather: Says the weather.",
        "QUESTION",
        "busy",
        "$0.007000",
        "The model calls cost $0.007000.",
    ):
        assert expected in output, output
    _, output, _ = await replay(run["id"], "--json")
    [ended] = [entry for entry in map(json.loads, output.splitlines()) if entry["type"] == "model_call.finished"]
    assert ended["prompt"]["body"].encode() == model.bodies[-1]
    assert [part["kind"] for part in ended["prompt"]["parts"]] == ["system", "tools", "user"]
    assert ended["answer"]["content"][0]["text"]["value"] == "It rains."
    assert ended["cost"] == {"input": "0.004", "output": "0.003"}
    for message in (await client.get(f"/threads/{run['thread_id']}/messages"))["data"]:
        await client.delete(f"/threads/{run['thread_id']}/messages/{message['id']}")
    for options in ([], ["--json"]):
        code, output, _ = await replay(run["id"], *options)
        assert code == 0
        assert "QUESTION" not in output
        assert "It rains" not in output
        assert "[deleted]" in output
        _, output, _ = await replay(run["id"], "--deleted", *options)
        assert "QUESTION" in output
        assert "It rains" in output


async def test_the_open_attempt(client: Client, model: ScriptedServer, database_url: str) -> None:
    model.script(says("a b").waits("middle", before=1))
    run = await run_of(client, "QUESTION")
    await model.wait_for_gate("middle")
    _, output, _ = await asyncio.to_thread(everthread, "replay", run["id"], EVERTHREAD_DATABASE_URL=database_url)
    model.open_gate("middle")
    assert "The open attempt at model call 1:" in output
    assert "rendered now, not recorded" in output
    assert "QUESTION" in output
    await client.settled(run)
