"""The start of a server imports no large package that it does not need to listen."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.scripted import ScriptedServer

ROOT = Path(__file__).parents[1]
# Packages that a part of the service imports when it is used first, or only in a child process.
LATE = ("IPython", "docx", "httpcore2", "numpy", "obstore", "onnxruntime", "openai", "pypdfium2", "tiktoken")

SERVE = f"""
import asyncio, sys
from pathlib import Path
import service.cli.main
from service.app.server import serve
from service.settings import Settings

async def run(database_url, model_url, home):
    async with asyncio.TaskGroup() as group:
        def ready(_):
            print("at ready:", *sorted({LATE} & sys.modules.keys()), flush=True)
            group.create_task(report())

        async def report():
            while "truststore" not in sys.modules:
                await asyncio.sleep(0.01)
            print("later:", *sorted({LATE} & sys.modules.keys()), flush=True)
            server.cancel()

        settings = Settings.load(port=0, data_dir=Path(home), code_interpreter="off")
        server = group.create_task(serve(
            settings, database_url=database_url, api_key="k", model_base_url=model_url, model_api_key=None,
            embedded_model=False, ready=ready,
        ))

asyncio.run(run(*sys.argv[1:]))
""".replace(str(LATE), str(set(LATE)))

# Counts how often the loop turned while the package was imported.
IMPORT = """
import asyncio, sys
from service.model.openai_import import import_openai

async def run():
    loading, turns = asyncio.gather(*(import_openai() for _ in range(3))), 0
    while not loading.done():
        await asyncio.sleep(0.001)
        turns += 1
    await loading
    print(turns if "openai" in sys.modules else -1)

asyncio.run(run())
"""


async def _output_of(code: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.slow
async def test_packages_that_wait_until_the_server_listens(
    database_url: str, model: ScriptedServer, tmp_path: Path
) -> None:
    output = await _output_of(SERVE, database_url, model.base_url, str(tmp_path))
    assert output.splitlines()[-2:] == ["at ready:", "later: httpcore2 openai"]


@pytest.mark.slow
async def test_the_loop_turns_during_the_import() -> None:
    """A blocked loop would turn once."""
    assert int(await _output_of(IMPORT)) > 10
