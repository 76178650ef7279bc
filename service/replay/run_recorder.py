"""Records runs of a database as files that `everthread replay --check` reads, with secrets replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound, Rejection
from events.streams import THREAD
from events.thread.state import ThreadState
from service.database import Pool
from service.replay.call_prompts import CallEnd, CallPrompt, PromptFold
from service.replay.check_stream import groups_of, hash_state
from service.replay.deletions import deleted_since, hide_message
from service.replay.deviations import LoggedEvent
from service.replay.prompt_rendering import render_prompt
from service.replay.recorded_events import load_row, render_line
from service.replay.redaction import redact
from service.replay.run_reader import thread_of_run
from sql import queries

# Bytes of a thread's events, and of the lines of its recording, which are held in memory. The lines have the bodies of
# requests, and each of those has the messages before it.
MAX_HISTORY_BYTES = 256 * 1024**2
# Events that are fetched at once.
PREFETCH = 200
_SQL = queries("replay_check")


async def load_run(pool: Pool, run_id: str, *, sees_deleted: bool = False) -> list[LoggedEvent]:
    """Returns the events of the run's thread from the first one to the end of the append with the run's last event.

    Unless `sees_deleted`, messages that were deleted since have no content, and a run of a deleted thread does not
    exist. Raises NotFound, NotReadable, and Rejection if the thread's history exceeds MAX_HISTORY_BYTES.
    """
    thread_id = await thread_of_run(pool, run_id)
    hidden = frozenset[str]() if sees_deleted else await deleted_since(pool, thread_id, 0)
    if thread_id in hidden:
        raise NotFound("run", run_id)
    events = [_hide(logged, hidden) for logged in await _load_events(pool, thread_id)]
    groups = list(groups_of(events))
    ends = [place for place, group in enumerate(groups, start=1) if any(_is_of(one.recorded, run_id) for one in group)]
    if not ends:
        raise NotFound("run", run_id)
    return [logged for group in groups[: ends[-1]] for logged in group]


async def _load_events(pool: Pool, thread_id: str) -> list[LoggedEvent]:
    events, size = list[LoggedEvent](), 0
    async with pool.acquire() as db, db.transaction(readonly=True):
        cursor = await db.cursor(_SQL["events"], [thread_id])
        while rows := await cursor.fetch(PREFETCH):
            size += sum(len(row["content"]) for row in rows)
            _check_size(size)
            events += map(load_row, rows)
    return events


def _check_size(size: int) -> None:
    if size > MAX_HISTORY_BYTES:
        message = f"The history of the thread has more than {MAX_HISTORY_BYTES} bytes: its runs cannot be recorded."
        raise Rejection(message, code="history_too_large")


def _hide(logged: LoggedEvent, hidden: frozenset[str]) -> LoggedEvent:
    return replace(logged, recorded=replace(logged.recorded, event=hide_message(logged.recorded, hidden)))


def record_lines(events: Iterable[LoggedEvent], *, has_texts: bool = True) -> Iterator[bytes]:
    """Yields the lines of a recording of one thread, without secrets; without texts unless `has_texts`.

    The last event of each append has the hash of the state after it. An event that records a request has the body that
    follows from the recording, and its hash. A record of a request that the log alone does not determine is left out.
    Raises Rejection if the lines exceed MAX_HISTORY_BYTES.
    """
    redaction, size = _Redaction(has_texts), 0
    for group in groups_of(events):
        for place, logged in enumerate(group, start=1):
            line = render_line(redaction.add(logged, is_last=place == len(group)))
            size += len(line)
            _check_size(size)
            yield line


class _Redaction:
    """Redacts the events of a thread in order, and folds them before and after it, to render the prompts of both."""

    def __init__(self, has_texts: bool) -> None:
        self._has_texts = has_texts
        self._originals = (ThreadState(""), PromptFold())
        self._prompts = PromptFold()
        self._state = ThreadState("")

    def add(self, logged: LoggedEvent, *, is_last: bool) -> LoggedEvent:
        """Returns the event for the recording, with the hash of the state after it if it is the last of its append."""
        if logged.recorded.version == 1:
            self._originals = (THREAD.initial(logged.recorded.stream_id), self._originals[1])
            self._state = THREAD.initial(logged.recorded.stream_id)
        before, fold = self._originals
        after = THREAD.evolve(before, logged.recorded)
        self._originals = (after, fold)
        sent = fold.add(logged.recorded, after)
        redacted = redact(logged, has_texts=self._has_texts)
        if isinstance(redacted.recorded.event, CallEnd):
            # The fold needs no state at the end of a call, and the state depends on the record.
            redacted = _with_request(redacted, sent, self._prompts.add(redacted.recorded, self._state))
            self._state = THREAD.evolve(self._state, redacted.recorded)
        else:
            self._state = THREAD.evolve(self._state, redacted.recorded)
            self._prompts.add(redacted.recorded, self._state)
        return replace(redacted, state_hash=hash_state(THREAD, self._state) if is_last else None)


def _with_request(logged: LoggedEvent, sent: CallPrompt | None, call: CallPrompt | None) -> LoggedEvent:
    """Returns the end of a call with the request that is rendered from the recording.

    `sent` is the call before the redaction, and `call` the same after it.
    """
    record, body = None, None
    if call is not None and call.record is not None and sent is not None and render_prompt(sent).fidelity == "exact":
        rendered = render_prompt(call).body
        body = rendered.decode()
        sha256 = hashlib.sha256(rendered).hexdigest()
        record = call.record.model_copy(update={"sha256": sha256, "bytes": len(rendered), "body": None})
    event = logged.recorded.event.model_copy(update={"prompt": record})
    return replace(logged, recorded=replace(logged.recorded, event=event), request=body)


def _is_of(recorded: RecordedEvent[Any], run_id: str) -> bool:
    return getattr(recorded.event, "run_id", None) == run_id
