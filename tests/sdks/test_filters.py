"""Filters, as the first and the newest SDK write them into a query."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.sdks.test_sdks import VERSIONS, run_program

pytestmark = pytest.mark.sdk


@pytest.mark.parametrize("version", VERSIONS)
async def test_filters_of_sdks(client: Client, version: str) -> None:
    printed = await run_program("filters.py", version, client.base_url)
    assert printed == {"version": version, "assistants": True, "threads": [True, True]}
