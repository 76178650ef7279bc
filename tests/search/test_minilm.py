"""The memory of the embedded embedding model's process."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.child_process import spawn
from service.search.embed import local
from service.search.embed.base import EmbedderDied
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


async def test_a_process_that_is_killed_before_it_is_ready_is_no_lasting_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a system that lacks memory: the file gets another attempt."""

    def spawn_and_kill(*args: Any, **settings: Any) -> subprocess.Popen[bytes]:
        child = spawn(*args, **settings)
        child.kill()
        return child

    monkeypatch.setattr(local, "spawn", spawn_and_kill)
    with pytest.raises(EmbedderDied):
        await LocalEmbedder(MINILM, tmp_path / "log").embed(["hello"])
