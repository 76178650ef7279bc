"""The limits of API keys: requests a minute, model tokens a minute, runs at once.

Requests and model tokens are limited by token buckets, which hold what a key may use in a minute and refill evenly.
Buckets are in the memory of this process, or in that of all workers of this server: each server grants the whole
limit, and its restart fills the buckets. The cost of a run is known only when a model call ends, so model tokens are
charged then, by the server that created the run if it also makes the call. A bucket may become negative; new runs wait
until it is positive. Runs at once are counted in the database, over all processes. Requests that create a run are
serialised for each key, so only requests to different servers can exceed the limit together.

Requests of keys without limits never reach this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from events.actors import KeyActor
from events.envelope import RecordedEvent
from events.thread import events as e
from events.thread.state import ThreadState
from projections import keys
from projections.keys import ApiKey
from service.database import Pool
from service.workers.shared_buckets import SharedBuckets

MAX_ACCOUNTS = 10_000
# Bounds the runs whose key this process remembers, to charge their tokens.
MAX_RUNS = 100_000
# Retry-After of a key that has all its runs active. The time at which one ends is unknown.
RUNS_WAIT_S = 1.0

Measure = Literal["requests", "tokens", "runs"]
# Events that neither use tokens nor create or end a run.
_Ignored = (
    e.LifeEvent
    | e.ImportEvent
    | e.MessageEvent
    | e.StepEvent
    | e.ToolCallEvent
    | e.ModelCallStarted
    | e.RunAdmitted
    | e.RunModified
    | e.RunReviewed
    | e.RunClaimed
    | e.RunReleased
    | e.RunQueued
    | e.RunStarted
    | e.RunRequiresAction
    | e.RunCancelling
)


class RateLimitExceeded(Exception):
    """A key has used up one of its limits. `used` of `limit` are used; `wait` is in seconds."""

    def __init__(self, measure: Measure, limit: int, used: int, wait: float) -> None:
        super().__init__(f"{measure}: {used} of {limit}")
        self.measure = measure
        self.limit = limit
        self.used = used
        self.wait = wait


@dataclass(slots=True)
class Bucket:
    """A token bucket that held `level` of `limit` at the time `at` (seconds). It refills by `limit` a minute."""

    limit: int
    at: float
    level: float

    def fill(self, at: float) -> None:
        """Adds the units that came back since the last call."""
        self.level = min(float(self.limit), self.level + (at - self.at) * self.limit / 60)
        self.at = at

    def until(self, level: float) -> float:
        """Returns the seconds until the bucket holds `level` units."""
        return max(0.0, (level - self.level) * 60 / self.limit)


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """The state of one limit of a key. `reset` is the time in seconds until the whole limit is available again."""

    measure: Measure
    limit: int
    remaining: int
    reset: float


@dataclass(slots=True)
class _Account:
    requests: Bucket | None
    tokens: Bucket | None
    run_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RateLimits:
    """The buckets of all keys that have limits. Follows the feed, to charge the model tokens that runs use."""

    def __init__(
        self, pool: Pool, *, timer: Callable[[], float] = time.monotonic, shared: SharedBuckets | None = None
    ) -> None:
        """`shared` are the buckets of all workers of this server, if there are several."""
        self._pool = pool
        self._timer = timer
        self._shared = shared
        self._accounts: dict[str, _Account] = {}
        self._runs: dict[str, str] = {}

    def admit(self, key: ApiKey, *, spends: bool) -> list[LimitStatus]:
        """Takes one request from the key's bucket, and returns the state of each of its limits.

        `spends` says that the request will use model tokens, so the bucket of tokens must not be empty. Raises
        RateLimitExceeded; a request that is refused takes nothing from a bucket.
        """
        account = self._account(key)
        with self._shared_buckets(key.id, account):
            self._take_request(account, spends=spends)
        return self.status(key)

    def _take_request(self, account: _Account, *, spends: bool) -> None:
        at = self._timer()
        for bucket in (account.requests, account.tokens):
            if bucket is not None:
                bucket.fill(at)
        if (requests := account.requests) is not None and requests.level < 1:
            raise RateLimitExceeded("requests", requests.limit, requests.limit, requests.until(1))
        if spends and (tokens := account.tokens) is not None and tokens.level < 1:
            raise RateLimitExceeded("tokens", tokens.limit, round(tokens.limit - tokens.level), tokens.until(1))
        if requests is not None:
            requests.level -= 1

    def _shared_buckets(self, key_id: str, account: _Account) -> AbstractContextManager[None]:
        if self._shared is None:
            return nullcontext()
        return self._shared.share((f"{key_id} requests", account.requests), (_tokens_of(key_id), account.tokens))

    def status(self, key: ApiKey) -> list[LimitStatus]:
        """Returns the state of each limit that the key has, as of the last request."""
        account = self._account(key)
        named: tuple[tuple[Measure, Bucket | None], ...] = (("requests", account.requests), ("tokens", account.tokens))
        return [
            LimitStatus(measure, bucket.limit, max(0, int(bucket.level)), bucket.until(bucket.limit))
            for measure, bucket in named
            if bucket is not None
        ]

    def charge(self, key_id: str, tokens: int) -> None:
        """Takes used model tokens from the key's bucket. Does nothing if the key has no limit of tokens."""
        account = self._accounts.get(key_id)
        if account is not None and account.tokens is not None:
            with self._shared_buckets(key_id, account):
                account.tokens.fill(self._timer())
                account.tokens.level -= tokens

    def _charge_run(self, run_id: str, tokens: int) -> None:
        if self._shared is None:
            self.charge(self._runs.get(run_id, ""), tokens)
        else:
            self._shared.charge_run(run_id, tokens, self._timer())

    @asynccontextmanager
    async def reserve_run(self, key: ApiKey) -> AsyncIterator[None]:
        """Lets the request create a run while the context is open; other requests of the key wait.

        Raises RateLimitExceeded if the key has `max_runs` runs that have not ended.
        """
        if key.max_runs is None:
            yield
            return
        lock = self._account(key).run_lock if self._shared is None else self._shared.hold(key.id)
        async with lock:
            async with self._pool.acquire() as db:
                active = await keys.count_active_runs(db, key)
            if active >= key.max_runs:
                raise RateLimitExceeded("runs", key.max_runs, active, RUNS_WAIT_S)
            yield

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[e.ThreadEvent]], state: ThreadState
    ) -> None:
        """Remembers the key of each new run, and charges the tokens of each model call that ended."""
        if not self._accounts and self._shared is None:
            return
        for entry in recorded:
            match entry.event:
                case e.RunCreated(run_id=run_id):
                    if isinstance(entry.actor, KeyActor):
                        self._remember(run_id, entry.actor.key_id)
                case (
                    e.ModelCallFinished(run_id=run_id, usage=usage)
                    | e.ModelCallFailed(run_id=run_id, usage=usage)
                    | e.ModelCallStopped(run_id=run_id, usage=usage)
                ):
                    self._charge_run(run_id, usage.prompt_tokens + usage.completion_tokens)
                case e.RunCompleted() | e.RunFailed() | e.RunCancelled() | e.RunExpired() | e.RunIncomplete() as ended:
                    self._forget(ended.run_id)
                case _:
                    _ignored: _Ignored = entry.event

    def _remember(self, run_id: str, key_id: str) -> None:
        account = self._accounts.get(key_id)
        if account is not None and account.tokens is not None:
            if self._shared is not None:
                self._shared.follow_run(run_id, _tokens_of(key_id))
                return
            if len(self._runs) >= MAX_RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[run_id] = key_id

    def _forget(self, run_id: str) -> None:
        if self._shared is None:
            self._runs.pop(run_id, None)
        else:
            self._shared.forget_run(run_id)

    def _account(self, key: ApiKey) -> _Account:
        account = self._accounts.get(key.id)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]
            account = _Account(self._full_bucket(key.requests_per_minute), self._full_bucket(key.tokens_per_minute))
            self._accounts[key.id] = account
        return account

    def _full_bucket(self, limit: int | None) -> Bucket | None:
        return None if limit is None else Bucket(limit, self._timer(), limit)


def _tokens_of(key_id: str) -> str:
    """Returns the name of the key's bucket of tokens among those that workers share."""
    return f"{key_id} tokens"
