"""Planted bugs: small changes of the product, each of which the simulation must find by a law.

A law that finds nothing proves nothing, so each law has a bug that no other law finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import asyncpg

import events.thread.decide
import events.thread.model_calls
import events.thread.runs
import events.thread.tool_calls
from events.thread import events as e
from events.thread.commands import ClaimRun
from projections import active_runs, append, webhooks
from projections import vector_store_files as store_files
from service import feed, writer
from service.audit import sequencer
from service.audit.ranges import LogOrder
from service.feed import Feed
from service.model.base import ModelStreamEnd
from service.runs import executor
from service.runs.claim import HeldClaim
from service.runs.reply import Reply
from service.runs.supervisor import Supervisor
from service.writer.head_cache import HeadCache
from sql.row_operations import HeadMoved


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """A bug, the law that finds it, and the changes (object, name of the attribute, its replacement).

    `is_alone` if a seed must be found at which no other law finds it.
    """

    name: str
    law: str
    changes: Sequence[tuple[Any, str, Any]]
    is_alone: bool = False

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Changes the product while the context lasts."""
        with ExitStack() as stack:
            for owner, name, replacement in self.changes:
                stack.enter_context(patch.object(owner, name, replacement))
            yield


def _own(owner: Any, name: str) -> Any:
    """Returns a function of the product, which a bug calls."""
    return getattr(owner, name)


_decide_executor = _own(events.thread.decide, "decide_executor")
_decide_supervisor = _own(events.thread.decide, "decide_supervisor")
_end_early = _own(events.thread.model_calls, "end_early")
_start_model_call = _own(events.thread.model_calls, "start_model_call")
_find_effect = _own(writer, "find_effect")
_read_page = _own(feed, "_read_page")
_order_appends = _own(sequencer, "order_appends")
_find_unowned = _own(active_runs, "find_unowned")
_find_idle = _own(webhooks, "find_idle")
_find_waiting = _own(store_files, "find_waiting")
_operations = _own(append, "_operations")
_execute_at_once = _own(append, "execute_at_once")
_append = _own(writer.Writer, "_append")
_so_far = _own(Reply, "so_far")
_plan = _own(executor, "plan")


def _ignore_epochs(state: Any, command: Any, at: Any) -> Any:
    run = state.run
    if run is not None and run.id == command.run_id:
        command = replace(command, epoch=run.epoch)
    return _decide_executor(state, command, at)


def _ignore_claims(self: HeldClaim, state: Any) -> bool:
    return state.run is not None and state.run.id == self.run_id


def _claim_without_epoch(state: Any, command: Any, at: Any) -> Any:
    events = _decide_supervisor(state, command, at)
    if isinstance(command, ClaimRun) and events and state.run.epoch:
        return [events[0].model_copy(update={"epoch": state.run.epoch})]
    return events


def _leave_steps_open(*given: Any, **named: Any) -> Any:
    return [event for event in _end_early(*given, **named) if not isinstance(event, e.StepEnded)]


async def _skip_first_of_page(pool: Any, thread_id: str, after: int) -> Any:
    page = await _read_page(pool, thread_id, after)
    return page[1:] if len(page) > 2 else page


def _skip_row(end: int, versions: Any, batch: Any) -> LogOrder:
    order: LogOrder = _order_appends(end, versions, batch)
    if len(order.ranges) < 3:
        return order
    return LogOrder(order.ranges[:-1], [*order.sealed, order.ranges[-1].append], order.held)


def _forget_sealed(end: int, versions: Any, batch: Any) -> LogOrder:
    """Loses the appends that the log has already, instead of deleting them."""
    order = _order_appends(end, versions, batch)
    return LogOrder(order.ranges, [], [*order.held, *order.sealed])


async def _unowned_only(db: Any, live: Any, limit: int) -> Any:
    return [run for run in await _find_unowned(db, live, limit) if run.process is None]


async def _idle_only(db: Any, live: Any, except_for: Any, limit: int) -> Any:
    return [each for each in await _find_idle(db, live, except_for, limit) if each.process is None]


async def _waiting_only(db: Any, live: Any, first: str, *, limit: int, each: int) -> Any:
    return [file for file in await _find_waiting(db, live, first, limit=limit, each=each) if file.process is None]


async def _drop_failed(db: Any, delivery: Any, pause: float, error: str, **rests: float) -> tuple[int, float]:
    await webhooks.discard(db, delivery)
    return 1, 0.0


async def _first_version_only(db: Any, seed: bytes, stream_id: str, place: int) -> Any:
    found = await _find_effect(db, seed, stream_id, place)
    return None if found is None else (found[0], found[0])


async def _believe_in_success(self: Any, db: Any, new: Any, guard: Any) -> Any:
    try:
        return await _append(self, db, new, guard)
    except asyncpg.ConnectionDoesNotExistError:
        if not isinstance(new.recorded[0].event, e.ThreadModified | e.MessageDeleted | e.RunCancelling):
            raise
        prepared = append._prepare(new, self._ids, append._PLAIN, has_statement=True)
        return prepared.head


def _forget_operation(new: Any, sealed: Any, **named: Any) -> Any:
    operations = _operations(new, sealed, **named)
    return [operation for operation in operations if operation.block != "steps.patch"]


async def _ignore_moved_head(db: Any, mix: Any, operations: Any) -> None:
    try:
        await _execute_at_once(db, mix, operations)
    except HeadMoved:
        return


def _keep_head(self: Any, stream_type: Any, stream_id: str, project_id: str) -> Any:
    found = self._heads.get((stream_type.name, stream_id))
    return None if found is None or found[1].head.project_id != project_id else found[1]


def _perform_calls_of_others(run: Any, **named: Any) -> Any:
    call = run.call
    own_call = None if call is None or call.broken is not None else (call.number, call.attempt)
    return _plan(run, **{**named, "own_call": own_call or named["own_call"]})


def _lose_last_piece(self: Any) -> Any:
    said = _so_far.fget(self)
    return replace(said, text=said.text[:-3]) if isinstance(self.end, ModelStreamEnd) else said


def _repeat_number(run_id: str, *, number: int, **named: Any) -> Any:
    return _start_model_call(run_id, number=max(1, number - 1), **named)


async def _sleep_for_good(self: Any, pool: Any) -> None:
    await asyncio.Event().wait()


async def _recover_nothing(self: Any) -> None:
    pass


_ends = [
    (module, "end_early", _leave_steps_open)
    for module in (
        events.thread.decide,
        events.thread.model_calls,
        events.thread.runs,
        events.thread.tool_calls,
    )
]

PLANTED: tuple[PlantedBug, ...] = (
    PlantedBug(
        "executors ignore stale epochs",
        "messages once",
        [(events.thread.decide, "decide_executor", _ignore_epochs), (HeldClaim, "is_valid", _ignore_claims)],
    ),
    PlantedBug(
        "a claim keeps the epoch",
        "one active run",
        [(events.thread.decide, "decide_supervisor", _claim_without_epoch)],
        is_alone=True,
    ),
    PlantedBug("an early end leaves its step open", "legal events", _ends, is_alone=True),
    PlantedBug(
        "a retry after a lost answer has no effect record",
        "requests are answered",
        [(writer, "_next_effect", lambda origin, stream_id: None)],
        is_alone=True,
    ),
    PlantedBug(
        "the head cache keeps a stale head", "no unexpected errors", [(HeadCache, "take", _keep_head)], is_alone=True
    ),
    PlantedBug(
        "a stream skips the first event of a page",
        "streams show all",
        [(feed, "_read_page", _skip_first_of_page)],
        is_alone=True,
    ),
    PlantedBug("nobody looks for lost wake-ups", "streams show all", [(Feed, "run", _sleep_for_good)]),
    PlantedBug(
        "the sequencer deletes a row unsealed",
        "the log is gapless",
        [(sequencer, "order_appends", _skip_row)],
        is_alone=True,
    ),
    PlantedBug("the sequencer keeps sealed rows", "the log is gapless", [(sequencer, "order_appends", _forget_sealed)]),
    PlantedBug(
        "supervisors leave the runs of the dead",
        "runs end",
        [(active_runs, "find_unowned", _unowned_only)],
        is_alone=True,
    ),
    PlantedBug("lost claims are not recovered", "runs end", [(Supervisor, "_recover", _recover_nothing)]),
    PlantedBug(
        "waiting runs are forgotten",
        "runs end",
        [(events.thread.decide, "admit_next_run", lambda state, events, command, at: [])],
    ),
    PlantedBug(
        "a change whose answer was lost counts as made",
        "acknowledged is kept",
        [(writer.Writer, "_append", _believe_in_success)],
        is_alone=True,
    ),
    PlantedBug(
        "a moved head is overlooked",
        "acknowledged is kept",
        [(append, "execute_at_once", _ignore_moved_head)],
    ),
    PlantedBug(
        "the next call has the number of the last one",
        "calls made once",
        [(events.thread.model_calls, "start_model_call", _repeat_number)],
    ),
    PlantedBug(
        "executors perform the calls that others journaled",
        "calls made once",
        [(executor, "plan", _perform_calls_of_others)],
        is_alone=True,
    ),
    PlantedBug(
        "the end of a reply is lost", "messages once", [(Reply, "so_far", property(_lose_last_piece))], is_alone=True
    ),
    PlantedBug(
        "an append forgets a row of a view",
        "views equal their fold",
        [(append, "_operations", _forget_operation)],
        is_alone=True,
    ),
    PlantedBug(
        "a repeat is answered with a part",
        "repeats are equal",
        [(writer, "find_effect", _first_version_only)],
        is_alone=True,
    ),
    PlantedBug("endpoints of dead processes are left", "webhooks are delivered", [(webhooks, "find_idle", _idle_only)]),
    PlantedBug(
        "a refused message is dropped",
        "webhooks are delivered",
        [(webhooks, "record_failure", _drop_failed)],
        is_alone=True,
    ),
    PlantedBug(
        "files of dead processes are left",
        "files are indexed",
        [(store_files, "find_waiting", _waiting_only)],
        is_alone=True,
    ),
)
