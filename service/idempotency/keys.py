"""Claims on idempotency keys, and the answers that duplicates get."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog

from events.clock import Clock
from events.envelope import EffectCounter
from events.ids import IdSource
from service.database import DATABASE_ERRORS, Pool
from service.processes.orphans import LiveProcesses, is_orphan
from service.processes.scan_loop import ScanLoop
from sql import queries
from sql.connection import Connection
from sql.shared_keys import seal_shared

log = structlog.get_logger()

_SQL = queries("idempotency")
# How long a key and its answer are kept.
KEPT = timedelta(hours=24)
# The age at which a claim may be taken over even though its process is alive: longer than any upload may take.
CLAIM_LASTS = timedelta(minutes=70)
# Seconds that a duplicate waits for the first request, and the first and longest pause between its looks at a request
# in another process. Of the duplicates in this process only one looks at a time.
PATIENCE = 60.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# Duplicates of one key that may wait in this process; more are refused at once.
MAX_WAITING = 20
# Longer answers are not kept, in bytes: a duplicate runs the request again, which has no second effect.
MAX_CONTENT = 4 * 1024 * 1024
SWEEP_EVERY_S = 60.0
SWEEP_PAGE = 1000
MAX_PAGES = 100
WRITE_TIMEOUT_S = 5.0
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The HTTP answer that the first request got."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


class AlreadyAnswered(Exception):
    """Raised for a duplicate whose answer is stored."""

    def __init__(self, answer: StoredAnswer) -> None:
        super().__init__(f"answered with {answer.status}")
        self.answer = answer


class KeyReused(Exception):
    """The key was used before, for another request."""


class KeyInUse(Exception):
    """The first request with this key is still at work."""


@dataclass(slots=True)
class Attempt:
    """One try of a request. `request` is the digest of everything that it asks but its body.

    `is_claimed` while it holds the claim on its key, `is_repeat` if another try came before it. `answer` replaces the
    response as the answer to store, for a response that is streamed.
    """

    token: bytes
    request: bytes
    effects: EffectCounter
    claimed_at: datetime
    is_claimed: bool
    is_repeat: bool
    answer: StoredAnswer | None = None


@dataclass(slots=True)
class _Line:
    """The duplicates in this process that wait for one key.

    The one whose `turn` it is sets `answer` for all of them.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    answer: tuple[Mapping[str, Any], StoredAnswer] | None = None


class IdempotencyKeys:
    """The idempotency keys of this database, and the claims on them that this process holds."""

    def __init__(self, pool: Pool, processes: LiveProcesses, *, clock: Clock, ids: IdSource) -> None:
        self._pool = pool
        self._processes = processes
        self._clock = clock
        self._ids = ids
        # Tokens whose claim a request in this process holds, and those for which one is being made right now.
        self._held: set[bytes] = set()
        self._claiming: Counter[bytes] = Counter()
        self._lines: dict[bytes, _Line] = {}

    async def begin(self, token: bytes, request: bytes, body: bytes | None) -> Attempt:
        """Returns an attempt, which holds the claim if the key is new.

        `body` is the digest of the body, or None if it is not read yet. Raises KeyReused if the key was used for
        another request, whatever its body, and KeyInUse if the key expires at this moment.
        """
        for _ in range(2):
            seed, at = self._ids.draw("seed")[:SEED_BYTES], self._clock.now()
            async with self._pool.acquire() as db:
                if await self._claim(db, token, seed, at, request, body):
                    return Attempt(token, request, EffectCounter(seed), at, is_claimed=True, is_repeat=False)
                row = await db.fetchrow(_SQL["find"], token)
            if row is not None:
                if row["request"] not in (None, request):
                    raise KeyReused
                return Attempt(token, request, EffectCounter(row["seed"]), at, is_claimed=False, is_repeat=True)
        raise KeyInUse

    async def settle(self, attempt: Attempt, body: bytes) -> None:
        """Returns once the attempt holds the claim on its key. `body` is the digest of its body.

        Raises AlreadyAnswered if the answer is stored, KeyReused if the first request had another body, and KeyInUse
        if the first request does not end within PATIENCE seconds or too many duplicates wait already.
        """
        if attempt.is_claimed:
            async with self._pool.acquire() as db:
                await db.execute(_SQL["tell_body"], attempt.token, attempt.effects.seed, body)
            return
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
        until = loop.time() + PATIENCE
        async with self._turn(attempt.token, until) as line:
            while True:
                line.ended.clear()
                if await self._try_to_claim(attempt, body, line):
                    return
                if (left := until - loop.time()) <= 0:
                    raise KeyInUse
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(pause, left)):
                        await line.ended.wait()
                pause = min(2 * pause, LONGEST_PAUSE)

    async def finish(self, attempt: Attempt, answer: StoredAnswer) -> None:
        """Stores the answer for duplicates and releases the claim."""
        if not attempt.is_claimed or len(answer.content) > MAX_CONTENT:
            await self.release(attempt, keep=True)
            return
        query, seed, claimed_at = _SQL["finish"], attempt.effects.seed, attempt.claimed_at
        status, content = answer.status, answer.content
        headers = orjson.dumps(dict(answer.headers))

        async def store(db: Connection) -> None:
            sealed = await seal_shared(db, "idempotency_keys", attempt.token, "content", content)
            sealed_headers = await seal_shared(db, "idempotency_keys", attempt.token, "sealed_headers", headers)
            plain = headers.decode() if sealed_headers is headers else None
            hidden = sealed_headers if plain is None else None
            await db.execute(query, attempt.token, seed, claimed_at, status, plain, sealed, hidden)

        await self._end_claim(attempt, store)

    async def release(self, attempt: Attempt, *, keep: bool) -> None:
        """Releases the claim, so that the next try may run.

        The key then stands for this request with `keep`, or if the request had an effect; else for any.
        """
        if attempt.is_claimed:
            seed, claimed_at = attempt.effects.seed, attempt.claimed_at

            async def release(db: Connection) -> None:
                is_bound = keep or await db.fetchval(_SQL["has_effect"], seed)
                await db.execute(_SQL["release"], attempt.token, seed, claimed_at, is_bound)

            await self._end_claim(attempt, release)

    async def run(self) -> None:
        """Deletes expired keys until cancelled."""
        await ScanLoop("expired_idempotency_keys", every_s=SWEEP_EVERY_S, retry_s=SWEEP_EVERY_S).run(self._sweep)

    async def expire(self, at: datetime) -> None:
        """Deletes the keys that are older than KEPT, in pages, and the effects under them CLAIM_LASTS later."""
        sweeps = ((_SQL["expire_keys"], at - KEPT), (_SQL["expire_effects"], at - KEPT - CLAIM_LASTS))
        for query, before in sweeps:
            for _ in range(MAX_PAGES):
                async with self._pool.acquire() as db:
                    deleted = await db.fetch(query, before, SWEEP_PAGE)
                if len(deleted) < SWEEP_PAGE:
                    break

    async def _sweep(self) -> None:
        await self.expire(self._clock.now())

    @asynccontextmanager
    async def _turn(self, token: bytes, until: float) -> AsyncIterator[_Line]:
        """Waits for this duplicate's turn to look. Raises KeyInUse if it does not come until then, or too many wait."""
        line = self._lines.setdefault(token, _Line())
        if line.waiting >= MAX_WAITING:
            raise KeyInUse
        line.waiting += 1
        try:
            async with asyncio.timeout_at(until) as patience, line.turn:
                patience.reschedule(None)
                yield line
        except TimeoutError:
            if not patience.expired():
                raise
            raise KeyInUse from None
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[token]

    async def _try_to_claim(self, attempt: Attempt, body: bytes, line: _Line) -> bool:
        """Returns whether the attempt holds the claim now. Raises AlreadyAnswered, KeyReused or KeyInUse."""
        if line.answer is not None:
            row, answer = line.answer
            _check_same(row, attempt, body)
            raise AlreadyAnswered(answer)
        async with self._pool.acquire() as db:
            row = _check_same(await db.fetchrow(_SQL["find"], attempt.token), attempt, body)
            if row["status"] is None:
                holder = _Holder(row["process"], row["claimed_at"])
                return await self._is_free(db, attempt.token, holder) and await self._take(db, attempt, body, holder)
            found = await db.fetchrow(_SQL["answer"], attempt.token, attempt.effects.seed)
        if found is None:
            raise KeyInUse
        answer = StoredAnswer(
            row["status"], orjson.loads(found["headers"] or found["sealed_headers"]), found["content"]
        )
        line.answer = row, answer
        raise AlreadyAnswered(answer)

    async def _is_free(self, db: Connection, token: bytes, holder: _Holder) -> bool:
        """Returns whether no request works under the key: its process died or is too slow, or failed to release it."""
        if holder.process == self._processes.process:
            return token not in self._held and token not in self._claiming
        return holder.claimed_at < self._clock.now() - CLAIM_LASTS or await is_orphan(
            db, self._processes, holder.process
        )

    async def _claim(
        self, db: Connection, token: bytes, seed: bytes, at: datetime, request: bytes, body: bytes | None
    ) -> bool:
        """Claims a key that has no row. Returns False if it has one."""
        process = self._processes.process
        with self._while_claiming(token):
            row = await db.fetchval(_SQL["claim"], token, seed, at, request, body, process, at - KEPT)
            if row is not None:
                self._held.add(token)
        return row is not None

    async def _take(self, db: Connection, attempt: Attempt, body: bytes, holder: _Holder) -> bool:
        """Takes the claim over from its holder. Returns False if another was faster."""
        attempt.claimed_at = self._clock.now()
        with self._while_claiming(attempt.token):
            row = await db.fetchval(
                _SQL["take"],
                attempt.token,
                attempt.effects.seed,
                holder.process,
                self._processes.process,
                attempt.claimed_at,
                attempt.request,
                body,
                holder.claimed_at,
            )
            attempt.is_claimed = row is not None
            if attempt.is_claimed:
                self._held.add(attempt.token)
        return attempt.is_claimed

    @contextmanager
    def _while_claiming(self, token: bytes) -> Iterator[None]:
        """Keeps other duplicates in this process from taking the claim that is being made for one that nobody holds."""
        self._claiming[token] += 1
        try:
            yield
        finally:
            self._claiming[token] -= 1
            if not self._claiming[token]:
                del self._claiming[token]

    async def _end_claim(self, attempt: Attempt, release: Callable[[Connection], Awaitable[object]]) -> None:
        """Releases the claim in the database and in this process.

        If the database fails, the claim is free all the same, since no request of this process holds it any more.
        """
        attempt.is_claimed = False
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S), self._pool.acquire() as db:
                await release(db)
        except DATABASE_ERRORS as error:
            log.warning("idempotency_key_not_released", error=type(error).__name__)
        finally:
            self._held.discard(attempt.token)
            if (line := self._lines.get(attempt.token)) is not None:
                line.ended.set()


@dataclass(frozen=True, slots=True)
class _Holder:
    """The claim in a key's row. `process` is None if no process holds it."""

    process: int | None
    claimed_at: datetime


def _check_same(row: Mapping[str, Any] | None, attempt: Attempt, body: bytes) -> Mapping[str, Any]:
    """Returns the key's row if it stands for this request. Raises KeyReused, or KeyInUse if the key just expired."""
    if row is None or row["seed"] != attempt.effects.seed:
        raise KeyInUse
    if row["request"] not in (None, attempt.request) or row["body"] not in (None, body):
        raise KeyReused
    return row
