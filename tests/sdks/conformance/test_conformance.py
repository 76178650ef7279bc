"""The scenarios under every SDK, as part of CI. `scripts/conformance` runs the same by hand."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fixtures.postgres import copied_database
from tests.machine import unavailable
from tests.scripted import ScriptedServer
from tests.sdks.conformance.run import HERE, missing, report
from tests.sdks.conformance.scenarios import SCENARIOS, SDKS
from tests.server_process import running

Running = tuple[str, ScriptedServer]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One server for all scenarios: its base URL, and the model server behind it."""
    home = Path(tmp_path_factory.mktemp("conformance"))
    async with (
        copied_database(postgres) as url,
        running(EVERTHREAD_DATABASE_URL=url, EVERTHREAD_DATA_DIR=str(home)) as found,
    ):
        yield found


@pytest.mark.slow
@pytest.mark.sdk
@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("sdk", SDKS)
async def test_what_users_do(sdk: str, server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    if why := missing(sdk):
        unavailable(why)
    with capsys.disabled():
        print()
        wrong = await report(sdk, *server)
    assert [one.line for one in wrong] == []


def test_each_scenario_is_in_both_languages_or_absent_there() -> None:
    python = {
        node.name
        for path in (HERE / "python").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    javascript = {
        name
        for path in (HERE / "javascript").glob("*.mjs")
        for name in re.findall(r"^export async function (\w+)", path.read_text(), re.MULTILINE)
    }
    for kind, known in (("pypi", python), ("npm", javascript)):
        sdks = [sdk for sdk in SDKS if sdk.startswith(kind)]
        wanted = {one.name for one in SCENARIOS if any(sdk not in one.absent for sdk in sdks)}
        assert wanted - known == set()
