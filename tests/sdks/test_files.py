"""The SDKs' helpers for files and uploads, with the first and the newest SDK."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Client
from tests.sdks.test_sdks import VERSIONS, run_program

pytestmark = pytest.mark.sdk
OWN: dict[str, dict[str, Any]] = {
    "1.20.0": {
        "assistant": ["assistant.file", [True, False], True, "assistant.file.deleted", True],
        "message": [True, "thread.message.file", True],
    },
    "3.54.0": {"expires": 3600, "upload": ["completed", "big.txt", True], "assistant": True, "message": True},
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_helpers_work(client: Client, version: str) -> None:
    printed = await run_program("files.py", version, client.base_url)
    size = len("Grüße, 世界\n".encode()) * 1000
    assert printed == {
        "version": version,
        "created": ["file", "Grüße.txt", "assistants", size, "processed"],
        "processed": True,
        "listed": [True],
        "content": True,
        "deleted": True,
        "gone": True,
        **OWN[version],
    }
