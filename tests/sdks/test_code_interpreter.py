"""The guide's programs for code_interpreter with the first and the newest SDK: real code in a real sandbox."""

from __future__ import annotations

import pytest

from service.sandbox.bubblewrap import SandboxLauncher
from tests.conftest import StartServer
from tests.http.test_code_interpreter import runs
from tests.scripted import ScriptedServer, says
from tests.sdks.test_sdks import VERSIONS, run_program

pytestmark = pytest.mark.sdk
SOLVE = "from sympy import symbols, solve\nx = symbols('x')\nsolve(3 * x + 11 - 14, x)"
ANALYSE = (
    "import pandas as pd, matplotlib.pyplot as plt\nsales = pd.read_csv('sales.csv')\n"
    "sales.plot(x='month', y='sales')\nplt.show()\n"
    "open('total.txt', 'w').write(f'total {sales.sales.sum()}');"
)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_programs_run_unchanged(
    launcher: SandboxLauncher, start_server: StartServer, model: ScriptedServer, version: str
) -> None:
    model.script(runs(SOLVE), says("x is 1."))
    model.script(runs(ANALYSE), says("Here: [total](sandbox:/mnt/data/total.txt).", pieces=7))
    async with start_server(code_interpreter="on") as server:
        printed = await run_program("code_interpreter.py", version, server.base_url)
    assert printed == {
        "status": "completed",
        "steps": ["tool_calls", "message_creation"],
        "call": ["code_interpreter", SOLVE, ["[1]\n"]],
        "answer": "x is 1.",
        "analysed": "completed",
        "chart": "89504e47",
        "annotation": ["file_path", "sandbox:/mnt/data/total.txt"],
        "totals": "total 60",
        "attached": True,
    }
