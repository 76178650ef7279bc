"""The client of `scripts/bench indexing`: adds files to vector stores, and waits until they are indexed."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import aiohttp

from scripts.bench_targets import HEADERS

# Seconds between two looks at the status of a file: the first, the factor from look to look, and the most. A look takes
# CPU time of the server, and files that take long need no more precision.
FIRST_LOOK_S, GROWTH, LONGEST_LOOK_S = 0.05, 1.2, 1.0


class StoreFile(NamedTuple):
    """The ids of a file and of the vector store that holds nothing else."""

    store_id: str
    file_id: str


class StoreTarget:
    """Each file gets a vector store of its own."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url

    async def index(self, name: str, data: bytes) -> str:
        """Uploads a file, indexes it, and returns its id."""
        file, pause = await self.start(name, data), FIRST_LOOK_S
        while not await self.is_indexed(file):
            await asyncio.sleep(pause)
            pause = min(pause * GROWTH, LONGEST_LOOK_S)
        return file.file_id

    async def start(self, name: str, data: bytes) -> StoreFile:
        """Uploads a file and has it indexed in the background."""
        form = aiohttp.FormData({"purpose": "assistants"})
        form.add_field("file", data, filename=name)
        file = await self._call("POST", "/files", form)
        store = await self._call("POST", "/vector_stores", {"file_ids": [file["id"]]})
        return StoreFile(store["id"], file["id"])

    async def is_indexed(self, file: StoreFile) -> bool:
        """Returns whether the file is completed. Ends the bench if it has failed."""
        found = await self._call("GET", f"/vector_stores/{file.store_id}/files/{file.file_id}")
        if found["status"] not in ("in_progress", "completed"):
            raise SystemExit(f"a file of the bench was not indexed: {found['last_error']}")
        return bool(found["status"] == "completed")

    async def remove(self, file: StoreFile) -> None:
        """Deletes the store of the file, which stops its indexing."""
        await self._call("DELETE", f"/vector_stores/{file.store_id}")

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        is_form = isinstance(body, aiohttp.FormData)
        headers = {name: value for name, value in HEADERS.items() if name != "Content-Type"}
        sent = {"data": body} if is_form else {"json": body}
        async with self._http.request(method, self._base_url + path, headers=headers, **sent) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer
