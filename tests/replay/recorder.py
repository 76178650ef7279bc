"""Records the answers of GET while a history is made, and compares them with those of the same requests with `at`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from random import Random

import orjson

from service.database import Pool
from service.wire.as_of import format_time
from tests.client import Client
from tests.clock import CLOCK

WAIT_S = 60.0
_DELETED_SINCE = """
SELECT EXISTS (
    SELECT FROM events WHERE type IN ('file.deleted', 'vector_store.deleted')
    AND at > (SELECT at FROM events WHERE stream_id = $1 AND version = $2)
)
"""


@dataclass(frozen=True, slots=True)
class Recording:
    """The answer to GET `path` in a version of the API, and the points of the stream at which it was given.

    `version` is null if a file or a vector store was deleted between the stream's last event and the answer: a version
    stands for the time of its event, at which references to them existed (docs/replay.md, "Objects as they were").
    """

    path: str
    beta: str
    body: bytes
    version: int | None
    time: str


class Recorder:
    """The answers that were recorded, of any number of streams."""

    def __init__(self, pool: Pool) -> None:
        self.recordings: list[Recording] = []
        self._pool = pool

    async def record(self, client: Client, stream_id: str, paths: Collection[str]) -> None:
        """Records the answers to these paths at one version of the stream."""
        async with asyncio.timeout(WAIT_S):
            while True:
                version = await self._version(stream_id)
                bodies = {path: orjson.dumps(await client.get(path)) for path in paths}
                at = CLOCK.now()
                if await self._version(stream_id) == version:
                    break
        is_ambiguous = await self._pool.fetchval(_DELETED_SINCE, stream_id, version)
        self.recordings += [
            Recording(path, client.headers["OpenAI-Beta"], body, None if is_ambiguous else version, format_time(at))
            for path, body in bodies.items()
        ]

    async def record_list(self, client: Client, path: str) -> None:
        """Records the answer of a list of several streams. Nothing may change meanwhile."""
        body = orjson.dumps(await client.get(path))
        time = format_time(CLOCK.now())
        self.recordings.append(Recording(path, client.headers["OpenAI-Beta"], body, None, time))

    async def compare(self, client: Client, sample: Random, most: int) -> None:
        """Compares up to `most` of the recordings with the past, at their versions and at their times."""
        before = client.headers["OpenAI-Beta"]
        for one in sample.sample(self.recordings, min(most, len(self.recordings))):
            client.headers["OpenAI-Beta"] = one.beta
            for at in (one.time, *([str(one.version)] if one.version is not None else [])):
                past = orjson.dumps(await client.get(one.path, at=at))
                assert past == one.body, (one.path, at)
        client.headers["OpenAI-Beta"] = before

    async def _version(self, stream_id: str) -> int:
        return int(await self._pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", stream_id))
