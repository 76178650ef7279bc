"""The SDKs' AzureOpenAI clients against a whole server, with Azure's paths, `api-version` and `api-key`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai import AsyncOpenAI

from tests.client import KEY, V1, V2, Client
from tests.scripted import ScriptedServer, says

HERE = Path(__file__).parent
VENVS = HERE.parent.parent / ".venvs"
PROGRAM_S = 150.0


async def program(sdk: str, client: Client, api_version: str) -> Any:
    """Returns the output of the program under this SDK."""
    python = VENVS / f"openai-{sdk}" / "bin" / "python"
    assert python.exists(), f"{python} is missing: scripts/test makes it"
    arguments = (HERE / "programs" / "azure_client.py", client.base_url.removesuffix("/v1"), api_version)
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    run = await asyncio.create_subprocess_exec(python, *arguments, env=environment, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(run.communicate(), PROGRAM_S)
    assert run.returncode == 0, err.decode()
    return orjson.loads(out)


@pytest.mark.sdk
@pytest.mark.parametrize(
    ("sdk", "api_version"),
    [("3.54.0", "2024-05-01-preview"), ("3.54.0", "2024-02-15-preview"), ("1.20.0", "2024-02-15-preview")],
)
async def test_azures_client(client: Client, model: ScriptedServer, sdk: str, api_version: str) -> None:
    model.default = says("Hello from a deployment.")
    printed = await program(sdk, client, api_version)
    assistant = printed.pop("assistant")
    assert ("file_ids" in assistant, "tool_resources" in assistant) == (
        (True, False) if api_version < "2024-05" else (False, True)
    )
    said = "Hello from a deployment."
    assert printed == {
        "status": "completed",
        "said": said,
        "whole": said,
        "streamed": said,
        "missing": "No thread found with id 'thread_none'.",
        "models": ["scripted"],
    }
    assert [request["model"] for request in model.requests] == [*["my-deployment"] * 3, "pinned"]


async def azure(client: Client, path: str, **headers: str) -> Any:
    """Returns the status and body of a GET with exactly these headers."""
    url = client.base_url.removesuffix("/v1") + path
    async with client.session.get(url, headers=headers) as response:
        return response.status, orjson.loads(await response.read())


async def test_the_key_and_the_version_of_azure(client: Client) -> None:
    assistant = await client.post("/assistants", {"model": "gpt-4o"})
    key = {"api-key": KEY}
    path = f"/openai/assistants/{assistant['id']}"
    v1, v2 = "?api-version=2024-02-15-preview", "?api-version=2025-01-01-preview"
    assert await azure(client, path + v2, **key) == (200, assistant)
    assert await azure(client, path + v2, **key, **{"OpenAI-Beta": V1}) == (200, assistant)
    assert "file_ids" in (await azure(client, path + v1, **key, **{"OpenAI-Beta": V2}))[1]
    assert await azure(client, path + "?api-version=latest", **key) == (200, assistant)
    assert (await azure(client, path + v2, Authorization=f"Bearer {KEY}"))[0] == 200
    status, refused = await azure(client, path + v2, **{"api-key": "sk-wrong-0123456789"})
    assert (status, refused["error"]["code"]) == (401, "invalid_api_key")
    status, refused = await azure(client, path, **key)
    assert (status, refused["error"]["code"]) == (400, "invalid_beta")


async def test_azures_newer_form_is_v1_under_another_name(client: Client) -> None:
    assistant = await client.post("/assistants", {"model": "gpt-4o"})
    path = f"/openai/v1/assistants/{assistant['id']}?api-version=preview"
    assert await azure(client, path, **{"api-key": KEY, "OpenAI-Beta": V2}) == (200, assistant)
    shown = await azure(client, path, **{"api-key": KEY, "OpenAI-Beta": V1})
    assert "file_ids" in shown[1]
    assert (await azure(client, "/openai/v1/models", **{"api-key": KEY}))[0] == 200


async def test_files_of_a_client_of_the_newer_form(client: Client) -> None:
    """The SDKs' plain client, as Azure documents it for /openai/v1. For files and uploads it sends no OpenAI-Beta."""
    for form in ("/openai/v1/", "/openai/"):
        base_url = client.base_url.removesuffix("/v1") + form
        async with AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as sdk:
            file = await sdk.files.create(file=("a.txt", b"abc"), purpose="assistants")
            assert file.id in [one.id async for one in await sdk.files.list()]
            assert (await sdk.files.content(file.id)).read() == b"abc"
            asked: Any = {"filename": "b.txt", "purpose": "assistants", "bytes": 3, "mime_type": "text/plain"}
            made = await sdk.uploads.create(**asked)
            part = await sdk.uploads.parts.create(made.id, data=b"xyz")
            done = await sdk.uploads.complete(made.id, part_ids=[part.id])
            assert done.file is not None
            store = await sdk.vector_stores.create(file_ids=[file.id])
            assert (await sdk.vector_stores.retrieve(store.id)).id == store.id
