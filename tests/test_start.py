"""The start of a server imports no large package that it does not need to listen."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.scripted import ScriptedServer

ROOT = Path(__file__).parents[1]
# Packages that a part of the service imports when it is used first, or only in a child process, or never.
LATE = ("IPython", "docx", "httpcore2", "numpy", "obstore", "onnxruntime", "openai", "pypdfium2", "tiktoken")

SERVE = f"""
import asyncio, sys
from pathlib import Path
import service.cli.main
from service.app.server import serve
from service.settings import Settings

async def run(database_url, model_url, home):
    def ready(_):
        print("at ready:", *sorted({set(LATE)} & sys.modules.keys()), flush=True)
        server.cancel()

    settings = Settings.load(port=0, data_dir=Path(home), code_interpreter="off")
    server = asyncio.create_task(serve(
        settings, database_url=database_url, owner_url=None, api_key="k", model_base_url=model_url,
        model_api_key=None, embedded_model=False, ready=ready,
    ))
    await asyncio.wait([server])

asyncio.run(run(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_packages_that_wait_until_the_server_listens(
    database_url: str, model: ScriptedServer, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE, database_url, model.base_url, str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert output.decode().splitlines()[-1] == "at ready:"
