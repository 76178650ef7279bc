"""Downloads the objects of an Azure OpenAI resource into a folder, in a form that `saved_files` reads.

    assistants.json, files.json, vector_stores.json, vector_store_files/<store>.json   arrays of objects
    threads/<id>.json                                                                  thread, messages, runs with steps
    bytes/<id>                                                                         the bytes of a file

A document is written when it is complete, and one that exists is not fetched again, so an interrupted download goes on
where it was. The official client retries failed requests and waits as long as the service asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from openai import APIConnectionError, APIStatusError, AsyncAzureOpenAI, AuthenticationError, PermissionDeniedError
from openai._models import BaseModel

from events.objects import Json
from service.errors import CommandError
from service.imports.saved_files import Unread

MAX_RETRIES = 10  # of a request; the client waits up to a minute between two of them
_NAME = re.compile(r"(?:\w+/)?[A-Za-z0-9][A-Za-z0-9_.-]*")
PAGE = 100  # objects of a list that are asked for at once


class AzurePull:
    """Downloads into `folder`. `missing` names what the service did not give, and why."""

    def __init__(self, client: AsyncAzureOpenAI, folder: Path) -> None:
        self.missing: list[Unread] = []
        self._client = client
        self._folder = folder

    async def run(self, thread_ids: Sequence[str], advance: Callable[[], None]) -> None:
        """Downloads the resource's assistants, files and vector stores, and these threads.

        Calls `advance` after each document. Raises CommandError if the key is refused or the service is unreachable.
        """
        try:
            await self._lists(advance)
            for thread_id in thread_ids:
                await self._save(f"threads/{thread_id}.json", lambda: self._thread(thread_id))  # noqa: B023 - awaited
                advance()
        except (AuthenticationError, PermissionDeniedError) as error:
            raise CommandError(f"Azure refuses the key: {error.message}") from None
        except APIConnectionError as error:
            cause = error.__cause__ or error
            raise CommandError(
                f"Azure cannot be reached ({cause}). Run the command again: it goes on where it was."
            ) from None

    async def _lists(self, advance: Callable[[], None]) -> None:
        beta, files = self._client.beta, self._client.files
        await self._save("assistants.json", lambda: _all(beta.assistants.list(limit=PAGE)))
        await self._save("files.json", lambda: _all(files.list()))
        stores = self._client.vector_stores
        await self._save("vector_stores.json", lambda: _all(stores.list(limit=PAGE)))
        for store in self._load("vector_stores.json"):
            await self._save(f"vector_store_files/{store['id']}.json", lambda: self._store_files(store["id"]))  # noqa: B023 - awaited
            advance()
        for file in self._load("files.json"):
            await self._save_bytes(file["id"])
            advance()

    async def _thread(self, thread_id: str) -> Json:
        threads = self._client.beta.threads
        runs = await _all(threads.runs.list(thread_id, limit=PAGE, order="asc"))
        for run in runs:
            steps = threads.runs.steps.list(run["id"], thread_id=thread_id, limit=PAGE, order="asc")
            run["steps"] = await _all(steps)
        return {
            "thread": _fields(await threads.retrieve(thread_id)),
            "messages": await _all(threads.messages.list(thread_id, limit=PAGE, order="asc")),
            "runs": runs,
        }

    async def _store_files(self, store_id: str) -> list[Json]:
        return await _all(self._client.vector_stores.files.list(store_id, limit=PAGE, order="asc"))

    def _load(self, name: str) -> list[Json]:
        """Returns the objects of a list that was downloaded; none if it could not be."""
        path = self._folder / name
        found: list[Json] = orjson.loads(path.read_bytes()) if path.exists() else []
        return found

    async def _save(self, name: str, fetch: Callable[[], Awaitable[Any]]) -> None:
        """Fetches a document and writes it, unless it exists."""
        path = self._path(name)
        if path is None or path.exists():
            return
        try:
            document = await fetch()
        except (AuthenticationError, PermissionDeniedError):
            raise
        except APIStatusError as error:
            self.missing.append(Unread(name, f"Azure answered {error.status_code}: {error.message}"))
            return
        _write(path, orjson.dumps(document))

    def _path(self, name: str) -> Path | None:
        """Returns the path of a document, None if the id in its name cannot be that of a file here."""
        if _NAME.fullmatch(name):
            return self._folder / name
        self.missing.append(Unread(name, "Azure gave it an id that is no name of a file"))
        return None

    async def _save_bytes(self, file_id: str) -> None:
        """Downloads the bytes of a file, unless they exist. Azure gives those of some purposes only."""
        path = self._path(f"bytes/{file_id}")
        if path is None or path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        try:
            async with self._client.files.with_streaming_response.content(file_id) as response:
                with part.open("wb") as file:
                    async for piece in response.iter_bytes():
                        file.write(piece)
            os.replace(part, path)
        except APIStatusError as error:
            self.missing.append(Unread(f"bytes of {file_id}", f"Azure answered {error.status_code}: {error.message}"))
        finally:
            with suppress(FileNotFoundError):
                part.unlink()


async def _all(page: AsyncIterable[BaseModel]) -> list[Json]:
    """Returns all objects of a list, page after page."""
    return [_fields(one) async for one in page]


def _fields(one: BaseModel) -> Json:
    return one.to_dict(mode="json")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)
