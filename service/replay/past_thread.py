"""A thread as it was, with its messages, runs and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from events import event_log
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import MAX_THREAD_FILES
from events.objects import Message, Run, Step, Thread
from events.streams import THREAD
from events.thread.events import ModelCallStarted, ThreadCreated, ThreadOrigin
from projections import messages, runs, steps, threads
from projections.generations import Project
from projections.messages import load_message
from projections.placeholders import placeholder_message, placeholder_step
from projections.row_store.tables import Row, Tables
from projections.rows import Cursor, Page
from projections.runs import load_run
from projections.steps import load_step
from projections.threads import load_thread
from projections.views import VIEWS
from service.replay.beginnings import first_event
from service.replay.past_pages import read_page
from service.replay.time_travel import PastStream, TimeTravel, Viewer
from service.wire.as_of import AsOf

_STEP = "run step"
R = TypeVar("R", Thread, Message)
# The views that each read needs. Folding the others would take time and memory.
_THREAD_VIEWS: Sequence[Project] = (threads.project,)
_MESSAGE_VIEWS: Sequence[Project] = (threads.project, messages.project, runs.project)
_RUN_VIEWS: Sequence[Project] = (threads.project, runs.project)
_STEP_VIEWS: Sequence[Project] = (threads.project, runs.project, steps.project)


@dataclass(frozen=True, slots=True)
class ThreadContents:
    """A thread with all its objects, the oldest first. `version` and `moment` are those of the point.

    `origin` is the thread that it was forked from; None if it is no fork.
    """

    thread: Thread
    messages: list[Message]
    runs: list[Run]
    steps: list[Step]
    version: int
    moment: datetime
    origin: ThreadOrigin | None


@dataclass(frozen=True, slots=True)
class PastThread:
    """Reads a thread at a point in the past. Each read raises the errors of `TimeTravel.open`."""

    travel: TimeTravel
    viewer: Viewer
    thread_id: str
    at: AsOf

    async def thread(self) -> Thread:
        """Returns the thread itself."""
        past = await self._open(_THREAD_VIEWS)
        [found] = await self._present(past, [thread_of(past.tables, self.thread_id)])
        return found

    async def contents(self) -> ThreadContents:
        """Returns the thread with its messages, runs and steps."""
        past = await self._open(VIEWS[THREAD])
        tables = past.tables
        shown = [row for row in rows_in_order(tables, "messages") if not is_hidden(past, row)]
        [thread] = await self._present(past, [thread_of(tables, self.thread_id)])
        created = (await first_event(self.travel.pool, self.thread_id)).event
        assert isinstance(created, ThreadCreated)
        return ThreadContents(
            thread=thread,
            messages=await self._present(past, [load_message(row) for row in shown]),
            runs=[load_run(row) for row in rows_in_order(tables, "runs")],
            steps=[load_step(row) for row in rows_in_order(tables, "steps")],
            version=past.version,
            moment=past.moment,
            origin=created.origin,
        )

    async def message(self, message_id: str) -> Message:
        """Returns a message, or a placeholder of it. Raises NotFound."""
        past = await self._open(_MESSAGE_VIEWS)
        row = past.tables["messages"].get((self.thread_id, message_id))
        if row is None:
            call = await self._find_call(past, message_id)
            if call is None or call.event.message_id != message_id or message_id in past.hidden:
                raise await self.travel.refusal(past, "message", message_id)
            return placeholder_message(load_run(past.tables.find("runs", self.thread_id, call.event.run_id)), call)
        if is_hidden(past, row):
            raise NotFound("message", message_id)
        [found] = await self._present(past, [load_message(row)])
        return found

    async def messages(self, cursor: Cursor, run_id: str | None = None) -> Page[Message]:
        """Returns a page of the messages, or of those of one run. Raises NotFound for the ids of the cursor."""

        def is_listed(row: Row) -> bool:
            return not is_hidden(past, row) and (run_id is None or row["run_id"] == run_id)

        past = await self._open(_MESSAGE_VIEWS)
        table = past.tables["messages"]
        refuse = partial(NotFound, "message")
        found = await read_page(table, self.thread_id, cursor, load_message, is_listed=is_listed, not_found=refuse)
        return Page(await self._present(past, found.items), found.more)

    async def run(self, run_id: str) -> Run:
        """Returns a run. Raises NotFound."""
        past = await self._open(_RUN_VIEWS)
        return await self._run(past, run_id)

    async def runs(self, cursor: Cursor) -> Page[Run]:
        """Returns a page of the runs. Raises NotFound for the ids of the cursor."""
        past = await self._open(_RUN_VIEWS)
        refuse = partial(NotFound, "run")
        return await read_page(
            past.tables["runs"], self.thread_id, cursor, load_run, is_listed=lambda row: True, not_found=refuse
        )

    async def step(self, run_id: str, step_id: str) -> Step:
        """Returns a step of a run, or a placeholder of it. Raises NotFound."""
        past = await self._open(_STEP_VIEWS)
        run = await self._run(past, run_id)
        row = past.tables["steps"].get((self.thread_id, step_id))
        if row is not None and row["run_id"] == run_id:
            return load_step(row)
        call = await self._find_call(past, step_id)
        if call is None or call.event.run_id != run_id:
            raise await self.travel.refusal(past, _STEP, step_id)
        if step_id not in (call.event.message_step_id, call.event.tool_step_id):
            raise NotFound(_STEP, step_id)
        return placeholder_step(run, call, step_id)

    async def steps(self, run_id: str, cursor: Cursor) -> Page[Step]:
        """Returns a page of a run's steps. Raises NotFound for the run and for the ids of the cursor."""
        past = await self._open(_STEP_VIEWS)
        await self._run(past, run_id)
        table = past.tables["steps"]
        refuse = partial(NotFound, _STEP)
        return await read_page(
            table, self.thread_id, cursor, load_step, is_listed=lambda row: row["run_id"] == run_id, not_found=refuse
        )

    async def _open(self, views: Sequence[Project]) -> PastStream:
        past = await self.travel.open(THREAD, self.thread_id, self.at, self.viewer, views)
        if not past.tables["threads"]:
            raise NotFound("thread", self.thread_id)
        return past

    async def _run(self, past: PastStream, run_id: str) -> Run:
        row = past.tables["runs"].get((self.thread_id, run_id))
        if row is None:
            raise await self.travel.refusal(past, "run", run_id)
        return load_run(row)

    async def _present(self, past: PastStream, shown: Sequence[R]) -> list[R]:
        return await self.travel.present(shown, self.viewer, past.moment)

    async def _find_call(self, past: PastStream, id: str) -> RecordedEvent[ModelCallStarted] | None:
        """Returns the first model call that may write the message or step `id`, or None. See
        `projections.placeholders`.
        """
        rows = past.tables.rows("runs")
        position = next((row["position"] for row in rows if id in row["promised"]), None)
        if position is None or (self.thread_id, id) in past.tables["messages"]:
            return None
        more, after = True, position
        while more:
            async with self.travel.pool.acquire() as db:
                page = await event_log.read_types(
                    db, self.thread_id, ["model_call.started"], after=after, until=past.version
                )
            for recorded in page.recorded:
                call = recorded.event
                assert isinstance(call, ModelCallStarted)
                if id in (call.message_id, call.message_step_id, call.tool_step_id):
                    return recorded  # type: ignore[return-value]
                after = recorded.version
            more = page.more
        return None


def is_hidden(past: PastStream, row: Row) -> bool:
    """Whether a message was deleted then, or since then if the viewer may not see that."""
    return bool(row["deleted"]) or row["message_id"] in past.hidden


def rows_in_order(tables: Tables, table: str) -> list[Row]:
    """Returns the rows of a table by position."""
    return sorted(tables.rows(table), key=lambda row: row["position"])


def thread_of(tables: Tables, thread_id: str) -> Thread:
    """Returns the thread, as the view `threads_with_attachments` shows it."""
    rows = rows_in_order(tables, "thread_attachments")[-MAX_THREAD_FILES:]
    return load_thread({**tables.find("threads", thread_id), "attached": [row["file_ids"] for row in rows]})
