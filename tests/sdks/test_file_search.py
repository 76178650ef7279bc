"""The guide's file search with the first and the newest SDK. Files are parsed, indexed and searched for real."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Client
from tests.scripted import ScriptedServer, calls, says
from tests.sdks.test_sdks import VERSIONS, run_program

pytestmark = pytest.mark.sdk
ANSWER = "He likes cake【4:0†foods.txt】."
CONTENT = "Summanus Ferdinand likes tacos. Filip Carola likes cake."
CITED = [["【4:0†foods.txt】", True, True]]
OWN: dict[str, dict[str, Any]] = {
    "1.20.0": {"quotes": [CONTENT], "call": ["retrieval", {}], "cited": CITED},
    "3.54.0": {
        "indexed": "completed",
        "found": [["foods.txt", True]],
        "result": ["foods.txt", True, True],
        "cited": CITED,
    },
}


@pytest.fixture
def search_engine() -> None:
    """Makes the server use the search engine of its settings, with the embedded model."""


@pytest.mark.parametrize("version", VERSIONS)
async def test_file_search(client: Client, model: ScriptedServer, version: str) -> None:
    asks = ("file_search", '{"queries": ["What does Filip like to eat?"]}')
    model.script(calls(asks), says(ANSWER), calls(asks), says(ANSWER))
    printed = await run_program("file_search.py", version, client.base_url)
    assert printed.pop("streamed", [[ANSWER, 1]]) == [[ANSWER, 1]]
    assert printed == {"version": version, "status": "completed", **OWN[version]}
