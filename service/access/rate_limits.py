"""The limits of keys: requests a minute, tokens a minute, runs at once.

Requests and tokens are token buckets: they hold what a key may use in a minute, and fill again evenly. Buckets live in
this process's memory: of several processes each grants the whole limit, and a restart fills them. What a run will cost
is not known before it ran, so tokens are taken when a model call ends, by the process that was asked for the run where
it makes the call too; a bucket can go below nothing, and new runs wait until it is above. Runs at once are counted in
the database, whatever process they are on; requests that begin one go one by one for each key, so that only those of
different processes can overstep together.

Keys without limits never come here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from events.envelope import Recorded
from events.thread import events as e
from events.thread.state import ThreadState
from projections import keys
from projections.keys import ApiKey
from service.database import Pool

MAX_ACCOUNTS = 10_000
# Runs whose tokens are somebody's: as many as this process can know to be under way.
MAX_RUNS = 100_000
# Seconds until a client should ask again that has all its runs under way: nobody knows when one will end.
RUNS_WAIT = 1.0

Measure = Literal["requests", "tokens", "runs"]


class Limited(Exception):
    """A key has used up what it may; `wait` in seconds."""

    def __init__(self, measure: Measure, limit: int, used: int, wait: float) -> None:
        super().__init__(f"{measure}: {used} of {limit}")
        self.measure = measure
        self.limit = limit
        self.used = used
        self.wait = wait


@dataclass(slots=True)
class Bucket:
    """`level` of `limit` at the moment `at`; `limit` comes back in a minute."""

    limit: int
    at: float
    level: float

    def fill(self, at: float) -> None:
        self.level = min(float(self.limit), self.level + (at - self.at) * self.limit / 60)
        self.at = at

    def until(self, level: float) -> float:
        """Seconds until it holds that much."""
        return max(0.0, (level - self.level) * 60 / self.limit)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a key stands with one limit; `reset` in seconds, until all of it is there again."""

    measure: Measure
    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class _Account:
    requests: Bucket | None
    tokens: Bucket | None
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limits:
    """Listens to the feed for the tokens that runs use."""

    def __init__(self, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._runs: dict[str, str] = {}

    def admit(self, key: ApiKey, *, spends: bool) -> list[Standing]:
        """Takes a request from the key's bucket, and tells how the key stands then.

        `spends`: it will use tokens, so some must be left. Raises Limited; a request that is refused takes nothing.
        """
        account, at = self._account(key), self._clock()
        for bucket in (account.requests, account.tokens):
            if bucket is not None:
                bucket.fill(at)
        if (requests := account.requests) is not None and requests.level < 1:
            raise Limited("requests", requests.limit, requests.limit, requests.until(1))
        if spends and (tokens := account.tokens) is not None and tokens.level < 1:
            raise Limited("tokens", tokens.limit, round(tokens.limit - tokens.level), tokens.until(1))
        if requests is not None:
            requests.level -= 1
        return self.standing(key)

    def standing(self, key: ApiKey) -> list[Standing]:
        """How the key stands with each limit that it has, as of the last look."""
        account = self._account(key)
        named: tuple[tuple[Measure, Bucket | None], ...] = (("requests", account.requests), ("tokens", account.tokens))
        return [
            Standing(measure, bucket.limit, max(0, int(bucket.level)), bucket.until(bucket.limit))
            for measure, bucket in named
            if bucket is not None
        ]

    def charge(self, key_id: str, tokens: int) -> None:
        """Takes tokens that were used. Nothing where the key has no such limit."""
        account = self._accounts.get(key_id)
        if account is not None and account.tokens is not None:
            account.tokens.fill(self._clock())
            account.tokens.level -= tokens

    @asynccontextmanager
    async def starting(self, key: ApiKey) -> AsyncIterator[None]:
        """While it lasts, the request begins a run. Raises Limited where as many as may be have not ended."""
        if key.max_runs is None:
            yield
            return
        async with self._account(key).starting:
            async with self._pool.acquire() as db:
                active = await keys.active_runs(db, key)
            if active >= key.max_runs:
                raise Limited("runs", key.max_runs, active, RUNS_WAIT)
            yield

    def committed(self, thread_id: str, recorded: Sequence[Recorded[Any]], state: ThreadState) -> None:
        """Remembers whose a new run is, and takes what its model calls used."""
        if not self._accounts:
            return
        for entry in recorded:
            match entry.event:
                case e.RunCreated(run_id=run_id):
                    self._remember(run_id, entry.actor.removeprefix("key:"))
                case (
                    e.ModelCallFinished(run_id=run_id, usage=usage)
                    | e.ModelCallFailed(run_id=run_id, usage=usage)
                    | e.ModelCallStopped(run_id=run_id, usage=usage)
                ):
                    self.charge(self._runs.get(run_id, ""), usage.prompt_tokens + usage.completion_tokens)
                case e.RunCompleted() | e.RunFailed() | e.RunCancelled() | e.RunExpired() | e.RunIncomplete() as ended:
                    self._runs.pop(ended.run_id, None)
                case _:
                    pass

    def woken(self, thread_id: str) -> None:
        """Nothing: what other processes' runs use is theirs to take."""

    def _remember(self, run_id: str, key_id: str) -> None:
        account = self._accounts.get(key_id)
        if account is not None and account.tokens is not None:
            if len(self._runs) >= MAX_RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[run_id] = key_id

    def _account(self, key: ApiKey) -> _Account:
        account = self._accounts.get(key.id)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]
            account = _Account(self._full(key.requests_per_minute), self._full(key.tokens_per_minute))
            self._accounts[key.id] = account
        return account

    def _full(self, limit: int | None) -> Bucket | None:
        return None if limit is None else Bucket(limit, self._clock(), limit)
