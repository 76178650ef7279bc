"""The real embedded model: its answers to the requests of the service, its restarts and its end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import ClientSession, ClientTimeout

from service.embedded import model as embedded
from service.embedded.model import EmbeddedModel, ModelAddress
from service.errors import StartupError
from tests.helper_ids import has_own_id

pytestmark = pytest.mark.embedded
TIMEOUT = ClientTimeout(total=60)
PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "p", "schema": {**PERSON, "required": ["name", "age"]}}}


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedModel, ModelAddress]]:
    running = EmbeddedModel(tmp_path)
    address = await running.start()
    yield running, address
    await running.stop()


async def ask(address: ModelAddress, key: str | None = None, **more: Any) -> tuple[int, str]:
    body = {"model": "any", "messages": [{"role": "user", "content": "Ann is 31."}], "max_tokens": 40, **more}
    headers = {"Authorization": f"Bearer {address.key if key is None else key}"}
    url = f"{address.base_url}/chat/completions"
    async with ClientSession(timeout=TIMEOUT) as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_answers(model: tuple[EmbeddedModel, ModelAddress]) -> None:
    _, address = model
    assert (await ask(address, key="wrong"))[0] == 401
    status, text = await ask(address, stream=True, stream_options={"include_usage": True}, max_completion_tokens=4)
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    assert status == 200
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert any(choice["finish_reason"] == "length" for choice in chunks[-2]["choices"])
    status, text = await ask(address, response_format=SCHEMA, temperature=0)
    assert set(json.loads(json.loads(text)["choices"][0]["message"]["content"])) == {"name", "age"}
    status, text = await ask(address, messages=[{"role": "user", "content": "word " * 9000}])
    assert (status, json.loads(text)["error"]["type"]) == (400, "exceed_context_size_error")
    answers = await asyncio.gather(*(ask(address, max_tokens=8) for _ in range(embedded.SLOTS + 2)))
    assert {status for status, _ in answers} == {200}, "if there are more requests than slots, they wait"


async def test_consecutive_runs_get_new_answers(model: tuple[EmbeddedModel, ModelAddress]) -> None:
    """Without user messages between the runs, the prompts end in one, two and three messages of the assistant."""
    _, address = model
    prompt = [{"role": "user", "content": "Name a colour."}]
    for _ in range(3):
        prompt.append({"role": "assistant", "content": "Blue, or"})
        status, text = await ask(address, messages=prompt, temperature=0)
        assert status == 200, text
        assert json.loads(text)["choices"][0]["message"]["role"] == "assistant"


async def test_it_is_restarted_at_the_same_address(
    model: tuple[EmbeddedModel, ModelAddress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_FIRST_PAUSE_S", 0.0)
    """It is started again also if a start fails meanwhile."""
    running, address = model
    failures = iter([StartupError("no memory")])
    start = running.start

    async def start_later() -> ModelAddress:
        for failure in failures:
            raise failure
        return await start()

    monkeypatch.setattr(running, "start", start_later)
    keeper = asyncio.create_task(running.keep_running())
    child = running._child
    assert child is not None
    assert has_own_id(child.pid), "the process that reads strangers' prompts"
    child.kill()
    async with asyncio.timeout(120):
        while running._child is child or (await _status(address)) != 200:
            await asyncio.sleep(0.05)
    keeper.cancel()
    assert list(failures) == []


async def _status(address: ModelAddress) -> int:
    try:
        return (await ask(address, max_tokens=1))[0]
    except OSError:
        return 0


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, pathlib, sys; from service.embedded.model import EmbeddedModel; "
        "m = EmbeddedModel(pathlib.Path(sys.argv[1])); asyncio.run(m.start()); "
        "print(m._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    parent = subprocess.run(command, cwd=root, capture_output=True, timeout=60, check=False)
    pid = int(parent.stdout)
    exited, _ = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    assert exited or not psutil.pid_exists(pid)


async def test_invalid_weights_are_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.gguf").write_text("no weights")
    monkeypatch.setattr(embedded, "find_weights", lambda: tmp_path / "bad.gguf")
    with pytest.raises(StartupError, match=r"^The embedded model cannot load: .+$"):
        await EmbeddedModel(tmp_path).start()
