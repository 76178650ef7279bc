"""An id of another kind of object is a 404, and changes nothing, also while the writer knows the head of its stream."""

from __future__ import annotations

from typing import Any

import pytest

from service.database import Pool
from tests.client import Client
from tests.http import files
from tests.http.helpers import assistant_with, thread_with

CREATORS = ("assistants", "threads", "webhook_endpoints", "vector_stores", "files", "uploads")
ATTEMPTS = (
    *(("DELETE", f"/{name}/{{id}}", None) for name in CREATORS if name != "uploads"),
    *(("POST", f"/{name}/{{id}}", {"metadata": {"a": "b"}}) for name in ("assistants", "threads", "vector_stores")),
    ("POST", "/webhook_endpoints/{id}", {"description": "x"}),
    ("POST", "/webhook_endpoints/{id}/rotate_secret", {}),
    ("POST", "/threads/{id}/messages", {"role": "user", "content": "Hi"}),
    ("POST", "/uploads/{id}/cancel", None),
)


async def _create(client: Client) -> dict[str, str]:
    """Creates an object of each kind. Returns their ids by the name of their collection."""
    upload = {"filename": "a.txt", "purpose": "assistants", "bytes": 4, "mime_type": "text/plain"}
    created: dict[str, Any] = {
        "assistants": await assistant_with(client),
        "threads": await thread_with(client, "Hi"),
        "webhook_endpoints": await client.post("/webhook_endpoints", {"url": "https://example.com/x"}),
        "vector_stores": await client.post("/vector_stores", {"name": "x"}),
        "files": await files.upload(client, b"text"),
        "uploads": await client.post("/uploads", upload),
    }
    return {name: thing["id"] for name, thing in created.items()}


async def _versions(pool: Pool) -> dict[str, int]:
    return {row["stream_id"]: row["version"] for row in await pool.fetch("SELECT stream_id, version FROM streams")}


@pytest.mark.parametrize(("method", "path", "body"), ATTEMPTS, ids=lambda value: str(value)[:40])
async def test_an_id_of_another_kind_changes_nothing(
    client: Client, pool: Pool, method: str, path: str, body: dict[str, Any] | None
) -> None:
    ids = await _create(client)
    before = await _versions(pool)
    for name, id in ids.items():
        if path.startswith(f"/{name}/"):
            continue
        answer = await client.call(method, path.format(id=id), body)
        assert answer.status == 404, (name, answer.status, answer.body)
    assert await _versions(pool) == before
