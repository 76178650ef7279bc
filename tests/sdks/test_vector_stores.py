"""The newest SDK's helpers for vector stores."""

from __future__ import annotations

import pytest

from tests.client import Client
from tests.sdks.test_sdks import run_program

pytestmark = pytest.mark.sdk
FRUIT = {"kind": "fruit"}


async def test_the_helpers_work(client: Client) -> None:
    assert await run_program("vector_stores.py", "3.54.0", client.base_url) == {
        "created": ["vector_store", "Fruit", "completed", 0, 7],
        "upload_and_poll": ["vector_store.file", "completed", None, FRUIT],
        "chunking": 800,
        "create_and_poll": ["completed", 100],
        "batch": ["vector_store.file_batch", "completed", 1, 1],
        "failed": ["invalid_file"],
        "search": ["apples.txt", "Apples are green or red.", FRUIT],
        "filtered": ["apples.txt"],
        "updated": ["apples.txt", "pears.txt"],
        "content": ["Pears are green or yellow."],
        "listed": ["completed", "completed", "completed", "failed"],
        "changed": None,
        "removed": True,
        "kept": "pears.txt",
        "counts": 3,
        "helper": [True],
        "deleted": True,
        "gone": True,
    }
