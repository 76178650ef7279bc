"""A few fixed Schemathesis cases for every operation of both documents. `scripts/fuzz` tries more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.postgres import copied_database
from tests.server_process import running
from tests.wire.fuzz import VERSIONS, fuzz_all, operations, run_in_background

EXAMPLES = 6  # cases of each kind, allowed and forbidden


@pytest.fixture(scope="module")
def base_url(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = Path(tmp_path_factory.mktemp("fuzz"))

    @asynccontextmanager
    async def opened() -> Any:
        async with (
            copied_database(postgres) as url,
            running(EVERTHREAD_DATABASE_URL=url, EVERTHREAD_DATA_DIR=str(home)) as (base_url, _),
        ):
            yield base_url

    with run_in_background(opened) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(("version", "known"), [("v1", 33), ("v2", 48)])
def test_documents_are_read_whole(version: str, known: int) -> None:
    assert len(operations(version)) == known


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_5xx_and_no_answer_outside_its_schema(base_url: str, version: str) -> None:
    assert fuzz_all(base_url, version, EXAMPLES) == []
