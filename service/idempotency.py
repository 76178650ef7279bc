"""Idempotency-Keys: a request that carries one has its effect once, however often and wherever it is sent.

Two things make it so. The guarantee: every append under a key records itself in its own transaction (`record`), and
whoever tries it again gets those events instead (`Writer.write`); ids follow from the key's seed. So at whatever moment
a process dies, a second try finds either nothing done or what was done, and answers from that. The comfort: a request
claims its key, so that duplicates wait for it and get its very answer; the claim of a process that died is anybody's.

Duplicates that run at once after all, because a claim was taken by mistake, do no harm.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson
import structlog

from events.clock import Clock
from events.envelope import EffectCounter, RecordedEvent
from events.ids import IdSource
from service.database import DATABASE_ERRORS, Pool
from sql import queries
from sql.connection import Connection

log = structlog.get_logger()

_SQL = queries("idempotency")
KEPT = timedelta(hours=24)
# A claim of a process that lives and says nothing for so long is anybody's: longer than any form may take.
CLAIM_LASTS = timedelta(minutes=70)
# Seconds for which a duplicate waits for the first, and between looks at one of another process: they grow. Of those
# that wait here for one key, one looks.
PATIENCE = 60.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
# Duplicates that wait for one key in this process; more are told at once to come again.
MAX_WAITING = 20
# An answer longer than this is not kept: the same is asked again.
MAX_CONTENT = 4 * 1024 * 1024
SWEEP_EVERY = 60.0
SWEEP_PAGE = 1000
MAX_PAGES = 100
WRITE_TIMEOUT = 5.0
SEED_BYTES = 32


async def effect(db: Connection, seed: bytes, stream_id: str, place: int) -> tuple[int, int] | None:
    """The (first, last) versions of the append that was made there; None where it was not."""
    row = await db.fetchrow(_SQL["effect"], stream_id, seed, place)
    return None if row is None else (row["first_version"], row["last_version"])


async def record(db: Connection, seed: bytes, place: int, recorded: Sequence[RecordedEvent[Any]]) -> bool:
    """Keeps what an append did, in its transaction. False where another try was faster: it must roll back."""
    first, last = recorded[0], recorded[-1]
    args = (last.stream_id, seed, place, first.version, last.version, last.at)
    return await db.fetchval(_SQL["record"], *args) is not None


class Peers(Protocol):
    """Which processes are alive, this one among them."""

    process: int
    live: frozenset[int]

    async def look(self, db: Connection) -> frozenset[int]:
        """Who is alive this moment."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


class Answered(Exception):
    """The request was answered before."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(f"answered with {kept.status}")
        self.kept = kept


class Reused(Exception):
    """The key was used for another request."""


class Busy(Exception):
    """The first request with this key is still at work."""


@dataclass(slots=True)
class Attempt:
    """One try of a request. `request` is the digest of what it asks but for its body.

    `ours` while it holds the claim; `again` where another try came before it. `kept` is what to keep as its answer
    where the response itself cannot tell.
    """

    token: bytes
    request: bytes
    once: EffectCounter
    claimed_at: datetime
    ours: bool
    again: bool
    kept: Kept | None = None


@dataclass(slots=True)
class _Line:
    """Those here who wait for one key. `answer` is what the one whose `turn` it is to look found, for all of them."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    answer: tuple[Mapping[str, Any], Kept] | None = None


class Keeper:
    """The keys of this database, as this process knows them."""

    def __init__(self, pool: Pool, peers: Peers, *, clock: Clock, ids: IdSource) -> None:
        self._pool = pool
        self._peers = peers
        self._clock = clock
        self._ids = ids
        # Tokens of claims that requests here hold, and of those that are being made this moment.
        self._held: set[bytes] = set()
        self._claiming: Counter[bytes] = Counter()
        self._lines: dict[bytes, _Line] = {}

    async def begin(self, token: bytes, request: bytes, body: bytes | None) -> Attempt:
        """Claims a key that is new. Raises Reused where it stands for another request, whatever its body."""
        for _ in range(2):
            seed, at = self._ids.draw("seed")[:SEED_BYTES], self._clock.now()
            async with self._pool.acquire() as db:
                if await self._claim(db, token, seed, at, request, body):
                    return Attempt(token, request, EffectCounter(seed), at, ours=True, again=False)
                row = await db.fetchrow(_SQL["find"], token)
            if row is not None:
                if row["request"] not in (None, request):
                    raise Reused
                return Attempt(token, request, EffectCounter(row["seed"]), at, ours=False, again=True)
        raise Busy

    async def settle(self, attempt: Attempt, body: bytes) -> None:
        """Lets the attempt go on once it is the only one; `body` is the digest of its body.

        Raises Answered, Reused, or Busy where the first does not end within PATIENCE, or too many wait already.
        """
        if attempt.ours:
            async with self._pool.acquire() as db:
                await db.execute(_SQL["tell_body"], attempt.token, attempt.once.seed, body)
            return
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
        until = loop.time() + PATIENCE
        async with self._in_line(attempt.token, until) as line:
            while True:
                line.ended.clear()
                if await self._look(attempt, body, line):
                    return
                if (left := until - loop.time()) <= 0:
                    raise Busy
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(pause, left)):
                        await line.ended.wait()
                pause = min(2 * pause, LONGEST_PAUSE)

    async def finish(self, attempt: Attempt, kept: Kept) -> None:
        """Keeps the answer for those who ask again."""
        if not attempt.ours or len(kept.content) > MAX_CONTENT:
            await self.release(attempt, keep=True)
            return
        args = (kept.status, orjson.dumps(dict(kept.headers)).decode(), kept.content)
        await self._end(attempt, _SQL["finish"], *args)

    async def release(self, attempt: Attempt, *, keep: bool) -> None:
        """Lets the next try in. With `keep`, or where something was done, it must ask for the same."""
        if attempt.ours:
            await self._end(attempt, _SQL["release"], keep)

    async def run(self) -> None:
        """Forgets keys when their time is over, until cancelled."""
        while True:
            try:
                await self.expire(self._clock.now())
            except (TimeoutError, *DATABASE_ERRORS) as error:
                log.warning("old idempotency keys are not swept", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY)

    async def expire(self, at: datetime) -> None:
        """Deletes keys that are not kept any longer, page by page, and what was done under them an hour later."""
        sweeps = ((_SQL["expire_keys"], at - KEPT), (_SQL["expire_effects"], at - KEPT - CLAIM_LASTS))
        for query, before in sweeps:
            for _ in range(MAX_PAGES):
                async with self._pool.acquire() as db:
                    gone = await db.fetch(query, before, SWEEP_PAGE)
                if len(gone) < SWEEP_PAGE:
                    break

    @asynccontextmanager
    async def _in_line(self, token: bytes, until: float) -> AsyncIterator[_Line]:
        """This one's turn to look. Raises Busy where it does not come until then, or the line is too long."""
        line = self._lines.setdefault(token, _Line())
        if line.waiting >= MAX_WAITING:
            raise Busy
        line.waiting += 1
        try:
            async with asyncio.timeout_at(until) as patience, line.turn:
                patience.reschedule(None)
                yield line
        except TimeoutError:
            if not patience.expired():
                raise
            raise Busy from None
        finally:
            line.waiting -= 1
            if not line.waiting:
                del self._lines[token]

    async def _look(self, attempt: Attempt, body: bytes, line: _Line) -> bool:
        """Whether the attempt is the only one now. Raises Answered, Reused, or Busy."""
        if line.answer is not None:
            row, kept = line.answer
            _same(row, attempt, body)
            raise Answered(kept)
        async with self._pool.acquire() as db:
            row = _same(await db.fetchrow(_SQL["find"], attempt.token), attempt, body)
            if row["status"] is None:
                claim = (row["process"], row["claimed_at"])
                return await self._free(db, attempt.token, *claim) and await self._take(db, attempt, body, *claim)
            told = await db.fetchrow(_SQL["answer"], attempt.token, attempt.once.seed)
        if told is None:
            raise Busy
        line.answer = row, Kept(row["status"], orjson.loads(told["headers"]), told["content"])
        raise Answered(line.answer[1])

    async def _free(self, db: Connection, token: bytes, process: int | None, claimed_at: datetime) -> bool:
        """Whether nobody is at work on the key: its process is gone, or it is ours and let go without saying so."""
        if process == self._peers.process:
            return token not in self._held and token not in self._claiming
        if process is None or claimed_at < self._clock.now() - CLAIM_LASTS:
            return True
        # It may have come since we last looked; who claimed a key had its lock before.
        return process not in self._peers.live and process not in await self._peers.look(db)

    async def _claim(
        self, db: Connection, token: bytes, seed: bytes, at: datetime, request: bytes, body: bytes | None
    ) -> bool:
        with self._claims(token) as won:
            args = (token, seed, at, request, body, self._peers.process, at - KEPT)
            won.append(await db.fetchval(_SQL["claim"], *args) is not None)
        return won[0]

    async def _take(
        self, db: Connection, attempt: Attempt, body: bytes, process: int | None, claimed_at: datetime
    ) -> bool:
        at = self._clock.now()
        with self._claims(attempt.token) as won:
            args = (process, self._peers.process, at, attempt.request, body, claimed_at)
            taken = await db.fetchval(_SQL["take"], attempt.token, attempt.once.seed, *args)
            won.append(taken is not None)
        attempt.ours, attempt.claimed_at = won[0], at
        return attempt.ours

    @contextmanager
    def _claims(self, token: bytes) -> Iterator[list[bool]]:
        """While a claim is being made no duplicate here takes its row for a forgotten one; held where it was won."""
        won: list[bool] = []
        self._claiming[token] += 1
        try:
            yield won
        finally:
            if won == [True]:
                self._held.add(token)
            self._claiming[token] -= 1
            if not self._claiming[token]:
                del self._claiming[token]

    async def _end(self, attempt: Attempt, query: str, *args: Any) -> None:
        """A claim whose end the database does not hear of is free all the same: nobody here holds it any more."""
        attempt.ours = False
        try:
            async with asyncio.timeout(WRITE_TIMEOUT), self._pool.acquire() as db:
                await db.execute(query, attempt.token, attempt.once.seed, attempt.claimed_at, *args)
        except (TimeoutError, *DATABASE_ERRORS) as error:
            log.warning("an idempotency key is not released", error=type(error).__name__)
        finally:
            self._held.discard(attempt.token)
            if (line := self._lines.get(attempt.token)) is not None:
                line.ended.set()


def _same(row: Mapping[str, Any] | None, attempt: Attempt, body: bytes) -> Mapping[str, Any]:
    """The key's row, where it stands for this request. Raises Reused, or Busy."""
    if row is None or row["seed"] != attempt.once.seed:
        raise Busy  # its time was over just now; the next try is a new request
    if row["request"] not in (None, attempt.request) or row["body"] not in (None, body):
        raise Reused
    return row
