"""The client of `scripts/bench growth` and `restart`: single requests to Everthread."""

from __future__ import annotations

import aiohttp
import orjson

from scripts.bench_targets import HEADERS, TEXT, post, read_stream

_COMPLETED = b"event: thread.run.completed\n"


class EverthreadClient:
    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self.base_url = base_url

    async def create_assistant(self, model: str) -> str:
        return str((await post(self._http, f"{self.base_url}/assistants", orjson.dumps({"model": model})))["id"])

    async def create_thread(self, messages: int) -> str:
        body = {"messages": [{"role": "user", "content": TEXT}] * messages}
        return str((await post(self._http, f"{self.base_url}/threads", orjson.dumps(body)))["id"])

    async def add_message(self, thread_id: str) -> None:
        body = orjson.dumps({"role": "user", "content": TEXT})
        await post(self._http, f"{self.base_url}/threads/{thread_id}/messages", body)

    async def read_newest_page(self, thread_id: str) -> None:
        url = f"{self.base_url}/threads/{thread_id}/messages"
        async with self._http.get(url, headers=HEADERS) as response:
            answer = await response.read()
            assert response.status == 200, answer

    async def run(self, thread_id: str, assistant_id: str, *, last_messages: int) -> None:
        """Streams a run to its end, whose prompt has so many messages."""
        truncation = {"type": "last_messages", "last_messages": last_messages}
        body = orjson.dumps({"assistant_id": assistant_id, "stream": True, "truncation_strategy": truncation})
        url = f"{self.base_url}/threads/{thread_id}/runs"
        _, answer = await read_stream(self._http, url, body, b"thread.message.delta")
        assert _COMPLETED in answer, answer[-500:]

    async def start_run(self, thread_id: str, assistant_id: str) -> None:
        """Creates a run, and does not wait for its end."""
        body = orjson.dumps({"assistant_id": assistant_id})
        await post(self._http, f"{self.base_url}/threads/{thread_id}/runs", body)

    async def start_fanout(self, url: str) -> None:
        """Starts the bare fan-out, and waits for its end."""
        async with self._http.post(url) as response:
            assert response.status == 200
