"""The embedded embedding model's process: its memory, and its end at a moment that nobody chose."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from service.child_process import helper_id, spawn
from service.search.embed import local
from service.search.embed.base import EmbedderDied, EmbeddingError
from service.search.embed.local import LocalEmbedder
from service.search.embed.wheels import MINILM
from tests.helper_ids import has_own_id

MB = 1024


def resident_kb(model: LocalEmbedder) -> int:
    """Returns the resident memory of the model's process in kilobytes."""
    assert model._child is not None
    status = Path(f"/proc/{model._child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.mark.slow
async def test_the_memory_of_a_long_text_is_released(tmp_path: Path) -> None:
    model = LocalEmbedder(MINILM, tmp_path / "log")
    try:
        await model.embed(["hello"], query=True)
        assert model._child is not None
        assert has_own_id(model._child.pid), "the process that reads strangers' texts"
        before = resident_kb(model)
        await model.embed(["word " * 1500, "tide " * 1500])
        assert resident_kb(model) < before + 60 * MB
    finally:
        await model.close()


# Ends of a process that starts, as kills show them: the shells stand for processes that a kill has ended.
KILLS = {
    "by a signal": "kill -9 $$",
    "after its pipe was closed": "exec >&-; sleep 0.3; kill -9 $$",
    "in a wrapper": "exit 137",
    "before it read its settings": "exec <&-; kill -9 $$",
    "without a word": "exit 0",
}


@pytest.mark.parametrize("script", KILLS.values(), ids=KILLS)
async def test_a_process_that_is_killed_before_it_is_ready_is_no_lasting_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """As by a system that lacks memory: the file gets another attempt."""
    starts = _start_instead(monkeypatch, script)
    with pytest.raises(EmbedderDied):
        await LocalEmbedder(MINILM, tmp_path / "log").embed(["hello"])
    assert len(starts) == 2, "a request starts the process at most twice"


async def test_a_process_that_hangs_before_it_is_ready_is_no_lasting_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is overloaded."""
    starts = _start_instead(monkeypatch, "exec sleep 60")
    monkeypatch.setattr(local, "START_TIMEOUT_S", 0.1)
    with pytest.raises(EmbedderDied):
        await LocalEmbedder(MINILM, tmp_path / "log").embed(["hello"])
    assert starts[0].poll() is not None


async def test_a_process_that_fails_before_it_is_ready_is_a_lasting_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = _start_instead(monkeypatch, "echo 'ValueError: damaged' >&2; exit 1")
    with pytest.raises(EmbeddingError, match="cannot start: ValueError: damaged") as raised:
        await LocalEmbedder(MINILM, tmp_path / "log").embed(["hello"])
    assert not isinstance(raised.value, EmbedderDied)
    assert len(starts) == 1


async def test_a_request_that_lost_its_process_does_not_end_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request of a killed process sees the end late, while another one starts the next process."""
    exchange = local._exchange
    is_late, is_starting, may_start = asyncio.Event(), threading.Event(), threading.Event()

    async def exchange_late(path: Path, body: bytes) -> bytes:
        try:
            return await exchange(path, body)
        except (OSError, asyncio.IncompleteReadError):
            if b"late" in body:
                is_late.set()
                await asyncio.to_thread(is_starting.wait, 60.0)
                # This request goes on behind this line, and the process of the other one after it.
                asyncio.get_running_loop().call_later(0.2, may_start.set)
            raise

    def helper_id_late() -> int | None:
        is_starting.set()
        may_start.wait(60.0)
        return helper_id()

    model = LocalEmbedder(MINILM, tmp_path / "log")
    try:
        await model.embed(["hello"])
        assert model._child is not None
        model._child.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(local, "_exchange", exchange_late)
        monkeypatch.setattr(local, "helper_id", helper_id_late)
        requests = [asyncio.create_task(model.embed([text])) for text in ("early", "late")]
        await asyncio.sleep(0)
        model._child.kill()
        early, late = await asyncio.gather(*requests)
        assert is_late.is_set()
        assert len(early) == len(late) == 1
    finally:
        await model.close()


def _start_instead(monkeypatch: pytest.MonkeyPatch, script: str) -> list[subprocess.Popen[bytes]]:
    """Starts a shell instead of the model. Returns the list of all processes that are started."""
    starts = list[subprocess.Popen[bytes]]()

    def start(_command: object, **settings: Any) -> subprocess.Popen[bytes]:
        starts.append(spawn(["/bin/sh", "-c", script], **settings))
        return starts[-1]

    monkeypatch.setattr(local, "spawn", start)
    return starts
