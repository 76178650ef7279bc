"""Passes the deltas of open calls to watchers on other processes.

A process with watchers of a thread whose run is at work elsewhere announces them by a notification, which it repeats
while they watch. The process of the run then writes the deltas every BATCH_S seconds into an unlogged table, the first
time all since the beginning of the call, and wakes its peers, which publish them to their watchers. If nobody watches
elsewhere, a call costs a look into a dict. If a batch cannot be written, its calls are sent again from their beginning,
since a client that lacks a piece in the middle cannot mend its text. So are all calls after this process has lost its
lock, since a crash of Postgres empties the table. Rows are counted, so that a reader waits if one is missing. A client
that gets no more deltas gets the rest with the events at the end of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import asyncpg
import structlog

from service.database import DATABASE_ERRORS, Pool
from service.deltas import Delta, MessageTextDelta, StepCallDelta, StepOutputDelta, deltas_after, join_deltas
from service.feed import Feed, Watcher
from service.processes.delta_rows import DeltaRow, dump_deltas, load_deltas, seal_rows
from service.processes.peers import IDS_PER_NOTIFY, Peers, notify_channel
from sql import queries
from sql.connection import key_store
from sql.seals import ContentErased, SealBroken

log = structlog.get_logger()

WATCH_CHANNEL = "everthread_watch"
DELTAS_CHANNEL = "everthread_deltas"
# Seconds between two batches of deltas.
BATCH_S = 0.1
# Seconds between two announcements of a watcher, and seconds after which the last one counts no more.
ANNOUNCE_EVERY_S = 2.0
LEASE_S = 7.0
RETRY_AFTER_S = 0.5
# Rows that are read at once.
READ_ROWS = 1_000
_SQL = queries("live_deltas")


@dataclass(slots=True)
class OutgoingCall:
    """An open call of this process that somebody watches elsewhere. `first` are its deltas before it was watched.

    `batches` is the number of rows that were written for it.
    """

    number: int
    watcher: Watcher
    stack: ExitStack
    first: list[Delta] | None
    batches: int = 0


@dataclass(slots=True)
class IncomingCall:
    """The deltas of a call of another process: the last row that was read, and the call (process, number).

    `call` is None if a row of it was lost. The process of the call sends it again.
    """

    last_row: int = 0
    call: tuple[int, int] | None = None
    last_batch: int = 0


class DeltaRelay:
    """Sends the deltas of this process's calls to its peers, and receives theirs."""

    def __init__(self, feed: Feed, pool: Pool, peers: Peers) -> None:
        self._feed = feed
        self._pool = pool
        self._peers = peers
        peers.add_channel(WATCH_CHANNEL, self._on_announcement)
        peers.add_channel(DELTAS_CHANNEL, self._on_rows)
        # Outgoing: the threads that are watched elsewhere, until when; the open calls; those that have closed.
        self._leases: dict[str, float] = {}
        self._outgoing: dict[str, OutgoingCall] = {}
        self._closed: list[tuple[str, int]] = []
        self._next_call = 0
        self._has_outgoing = asyncio.Event()
        self._has_dead = False
        self._was_cut_off = False
        # Incoming: the calls by thread; threads to announce at once; threads with rows to read.
        self._incoming: dict[str, IncomingCall] = {}
        self._unannounced: set[str] = set()
        self._unread: set[str] = set()
        self._has_incoming = asyncio.Event()

    def listen(self) -> None:
        """Begins to follow the feed and the peers."""
        self._feed.listen_to_calls(self)
        self._feed.listen_to_wakes(self)
        self._peers.listen(self)

    async def run(self) -> None:
        """Relays until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_outgoing())
            tasks.create_task(self._run_incoming())

    # Notifications.

    def on_watch(self, thread_id: str) -> None:
        """Announces the watcher, if the thread's run may be at work elsewhere."""
        if len(self._peers.live) > 1 and not self._is_local(thread_id):
            self._unannounced.add(thread_id)
            self._unread.add(thread_id)
            self._has_incoming.set()

    def on_wake(self, stream_id: str) -> None:
        """Announces the watchers of a thread that another process has changed."""
        if stream_id not in self._incoming and self._feed.is_watched(stream_id):
            self.on_watch(stream_id)

    def on_call_open(self, thread_id: str) -> None:
        """Begins to send the call, if somebody watches it elsewhere."""
        self._incoming.pop(thread_id, None)
        if thread_id in self._leases:
            self._send_call(thread_id)

    def on_call_close(self, thread_id: str) -> None:
        """Ends the sending of the call."""
        call = self._outgoing.pop(thread_id, None)
        if call is not None:
            call.stack.close()
            self._closed.append((thread_id, call.number))

    def on_peers_change(self) -> None:
        """Deletes the rows of dead processes with the next batch.

        If this process has its lock again, Postgres may have crashed, and the table is empty: sends all calls again.
        """
        self._has_dead = True
        self._has_outgoing.set()
        if self._peers.has_lock and self._was_cut_off:
            for thread_id in list(self._outgoing):
                self.on_call_close(thread_id)
                self._send_call(thread_id)
        self._was_cut_off = not self._peers.has_lock

    def _on_announcement(self, _process: int, thread_ids: Sequence[str]) -> None:
        until = monotonic() + LEASE_S
        for thread_id in thread_ids:
            self._leases[thread_id] = until
            if thread_id not in self._outgoing and self._is_local(thread_id):
                self._send_call(thread_id)

    def _on_rows(self, _process: int, thread_ids: Sequence[str]) -> None:
        watched = [thread_id for thread_id in thread_ids if self._feed.is_watched(thread_id)]
        self._unread.update(watched)
        if watched:
            self._has_incoming.set()

    def _is_local(self, thread_id: str) -> bool:
        """Returns whether a call of the thread is open in this process."""
        return thread_id not in self._incoming and self._feed.has_open_call(thread_id)

    # Outgoing.

    def _send_call(self, thread_id: str) -> None:
        stack = ExitStack()
        watcher = stack.enter_context(self._feed.watch(thread_id))
        self._next_call += 1
        first = self._feed.deltas_so_far(thread_id) or []
        self._outgoing[thread_id] = OutgoingCall(self._next_call, watcher, stack, first)
        self._has_outgoing.set()

    async def _run_outgoing(self) -> None:
        """Writes a batch every BATCH_S seconds while calls are sent; waits otherwise."""
        while True:
            if not self._outgoing and not self._closed and not self._has_dead:
                self._has_outgoing.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEASE_S):
                        await self._has_outgoing.wait()
            try:
                self._end_leases()
                await self._write_batch()
                await self._delete_rows()
                await asyncio.sleep(BATCH_S)
            except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
                log.warning("deltas_not_relayed", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER_S)

    def _end_leases(self) -> None:
        now = monotonic()
        for thread_id in [id for id, until in self._leases.items() if until < now]:
            del self._leases[thread_id]
            self.on_call_close(thread_id)

    async def _write_batch(self) -> None:
        """Writes the deltas of all calls since the last batch. If that fails, sends the calls again."""
        rows = self._take_rows()
        for start in range(0, len(rows), IDS_PER_NOTIFY):
            try:
                await self._insert(rows[start : start + IDS_PER_NOTIFY])
            except Exception:
                self._send_again(rows[start:])
                raise

    def _take_rows(self) -> list[DeltaRow]:
        """Returns the deltas since the last batch. A call of which deltas were dropped is sent no more."""
        rows: list[DeltaRow] = []
        for thread_id, call in list(self._outgoing.items()):
            drained = call.watcher.drain()
            if drained is None:
                self.on_call_close(thread_id)
                continue
            is_start, deltas = call.first is not None, join_deltas([*(call.first or ()), *drained])
            call.first = None
            if is_start or deltas:
                call.batches += 1
                rows.append(
                    DeltaRow(
                        thread_id=thread_id,
                        call=call.number,
                        batch=call.batches,
                        is_start=is_start,
                        deltas=dump_deltas(deltas),
                    )
                )
        return rows

    async def _insert(self, rows: Sequence[DeltaRow]) -> None:
        """Writes rows, encrypted if the installation is.

        If a thread has no key yet, its call is not sent until the next announcement of a watcher.
        """
        payload = " ".join([str(self._peers.process), *(row.thread_id for row in rows)])
        async with self._pool.acquire() as db:
            sealed = await seal_rows(db, self._peers.process, rows)
            stored = rows if sealed is None else sealed
            for thread_id in {row.thread_id for row in rows} - {row.thread_id for row in stored}:
                self.on_call_close(thread_id)
            count = await db.fetchval(
                _SQL["insert"],
                self._peers.process,
                [row.thread_id for row in stored],
                [row.call for row in stored],
                [row.is_start for row in stored],
                [row.deltas for row in stored],
                DELTAS_CHANNEL,
                payload,
                sealed is not None,
                [row.batch for row in stored],
            )
            if count < len(stored) and (store := key_store(db)) is not None:  # the installation has become encrypted
                store.ask_again()
                self._send_again(stored)

    def _send_again(self, rows: Sequence[DeltaRow]) -> None:
        """Sends the calls of rows from their beginning, under new numbers, since the rows may have been written or not.

        The rows of the old numbers are deleted.
        """
        for row in rows:
            call = self._outgoing.get(row.thread_id)
            if call is not None and call.number == row.call:
                self.on_call_close(row.thread_id)
                self._send_call(row.thread_id)

    async def _delete_rows(self) -> None:
        """Deletes the rows of calls that have closed, and of processes that have died. If that fails, tries again."""
        closed, has_dead = list(self._closed), self._has_dead
        if not closed and not has_dead:
            return
        self._has_dead = False
        try:
            async with self._pool.acquire() as db:
                if closed:
                    threads, calls = [thread_id for thread_id, _ in closed], [number for _, number in closed]
                    await db.execute(_SQL["delete_calls"], threads, calls, self._peers.process)
                if has_dead:
                    await db.execute(_SQL["delete_dead"], sorted(self._peers.live))
        except Exception:
            self._has_dead = self._has_dead or has_dead
            raise
        del self._closed[: len(closed)]

    # Incoming.

    async def _run_incoming(self) -> None:
        """Announces the watchers of this process, and publishes the deltas that peers send."""
        announced_at = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANNOUNCE_EVERY_S):
                    await self._has_incoming.wait()
            self._has_incoming.clear()
            try:
                if monotonic() - announced_at >= ANNOUNCE_EVERY_S:
                    announced_at = monotonic()
                    self._refresh_watched()
                await self._announce()
                while await self._read_rows():
                    pass
            except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
                log.warning("deltas_not_received", error=str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_AFTER_S)

    def _refresh_watched(self) -> None:
        """Notes all watched threads as to be announced and to be read, since a notification of rows may have been lost.

        Forgets the calls that nobody watches any more.
        """
        watched = set(self._feed.watched_ids())
        for thread_id in self._incoming.keys() - watched:
            del self._incoming[thread_id]
            self._feed.forget_remote_call(thread_id)
        if len(self._peers.live) > 1:
            remote = [id for id in watched if not self._is_local(id)]
            self._unannounced.update(remote)
            self._unread.update(remote)

    async def _announce(self) -> None:
        ids, self._unannounced = sorted(self._unannounced), set()
        if ids:
            try:
                async with self._pool.acquire() as db:
                    await notify_channel(db, WATCH_CHANNEL, self._peers.process, ids)
            except Exception:
                self._unannounced.update(ids)
                raise

    async def _read_rows(self) -> bool:
        """Publishes the rows that have not been read. Returns whether there may be more."""
        unread, self._unread = sorted(self._unread), set()
        if not unread:
            return False
        try:
            rows = await self._fetch_rows(unread)
        except Exception:
            self._unread.update(unread)
            self._has_incoming.set()
            raise
        for row in rows:
            self._publish(row)
        if len(rows) >= READ_ROWS:
            self._unread.update(unread)
        return len(rows) >= READ_ROWS

    async def _fetch_rows(self, thread_ids: Sequence[str]) -> list[Mapping[str, Any]]:
        """Returns the next rows of the threads, up to READ_ROWS if all can be opened.

        The rows of a thread are left out if one of them was changed or moved, or if its key is missing.
        """
        known = [self._incoming[id].last_row if id in self._incoming else 0 for id in thread_ids]
        try:
            async with self._pool.acquire() as db:
                return list(await db.fetch(_SQL["read_after"], thread_ids, known, READ_ROWS))
        except (SealBroken, ContentErased) as error:
            if len(thread_ids) == 1:
                log.warning("deltas_unreadable", thread_id=thread_ids[0], error=str(error))
                return []
        return [row for id in thread_ids for row in await self._fetch_rows([id])]

    def _publish(self, row: Mapping[str, Any]) -> None:
        """Publishes the deltas of a row that this process has not published yet."""
        thread_id, call = row["thread_id"], (row["process"], row["call"])
        if row["process"] == self._peers.process or self._is_local(thread_id) or not self._feed.is_watched(thread_id):
            return
        incoming = self._incoming.setdefault(thread_id, IncomingCall())
        incoming.last_row = max(incoming.last_row, row["id"])
        try:
            deltas = load_deltas(row["deltas"])
        except (LookupError, TypeError, ValueError):  # of another version of the software
            incoming.call = None
            return
        if row["is_start"]:
            known = self._feed.deltas_so_far(thread_id) or []
            if known and deltas and _is_same_call(known[0], deltas[0]):
                deltas = deltas_after(deltas, known)
            else:
                self._feed.open_remote_call(thread_id)
            incoming.call, incoming.last_batch = call, row["batch"] - 1
            self._feed.wake_watchers(thread_id)  # the event that has opened the call goes before its deltas
        # Processes with older software do not count their rows.
        if row["batch"] not in (0, incoming.last_batch + 1):
            incoming.call = None
        incoming.last_batch = row["batch"]
        if incoming.call == call:
            self._feed.publish_deltas(thread_id, deltas)


def _is_same_call(one: Delta, other: Delta) -> bool:
    match one, other:
        case (MessageTextDelta(), MessageTextDelta()) | (StepCallDelta(), StepCallDelta()):
            return one.step_id == other.step_id
        case StepOutputDelta(), StepOutputDelta():
            return (one.call_id, one.attempt) == (other.call_id, other.attempt)
        case _:
            return False
