"""The embedded model's process, seen from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.search.embed.minilm import MiniLM

MB = 1024


def resident(model: MiniLM) -> int:
    """Kilobytes of memory that its process takes."""
    assert model._child is not None
    status = Path(f"/proc/{model._child.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


@pytest.mark.slow
async def test_memory_that_a_text_took_is_given_back(tmp_path: Path) -> None:
    model = MiniLM(tmp_path / "log")
    try:
        await model.embed(["hello"], query=True)
        before = resident(model)
        await model.embed(["word " * 1500, "tide " * 1500])
        assert resident(model) < before + 60 * MB
    finally:
        await model.close()
