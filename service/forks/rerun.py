"""Runs a fork of a thread from before one of its runs, with the settings of that run and changes to them.

The server processes on the database execute the new run, as any run. This process creates it, waits for its end, and
submits the outputs of functions that were recorded: no function of a client is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from events import event_log
from events.envelope import Origin
from events.errors import DomainError, NotFound, Rejection
from events.event_log import NO_END
from events.ids import IdSource
from events.objects import Json, Run, Step
from events.streams import THREAD
from events.thread import events as e
from events.thread.commands import CancelRun, CreateRun, RunSettings, SubmitToolOutputs
from events.thread.run_status import TERMINAL
from projections import messages, runs, steps
from projections.rows import Cursor
from service.forks.forks import Forks
from service.forks.points import BeforeRun
from service.forks.recorded_outputs import RecordedOutputs
from service.prices import PriceList, cost_of
from service.processes.peers import find_servers, notify_servers
from service.replay.time_travel import Viewer
from service.writer import Writer

# Seconds between two looks at a run, and looks between two checks that a server is alive.
POLL_S = 0.2
LOOKS_PER_CHECK = 25
# Objects of a list that are read at once.
PAGE = 100
_TIMES = (
    "run.created",
    "run.admitted",
    "run.completed",
    "run.incomplete",
    "run.failed",
    "run.cancelled",
    "run.expired",
)


class NoServer(DomainError):
    """No server process is alive on the database, so nothing would execute a run."""

    def __init__(self) -> None:
        super().__init__("No server runs on this database, and the rerun needs one: start everthread serve.")


class RunNotEnded(DomainError):
    """The run that shall run again has not ended, so there is no answer to compare with."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"Run {run.id} is {run.status}: a rerun needs a run that has ended.")


class OutputMissing(DomainError):
    """The rerun called a function, or with arguments, for which the run has no recorded output."""

    def __init__(self, run: Run, function: Json) -> None:
        super().__init__(
            f"The rerun {run.id} in the fork {run.thread_id} called {function['name']}({function['arguments']}), for"
            " which no output is recorded: it was cancelled."
        )


@dataclass(frozen=True, slots=True)
class RerunIds:
    """The ids of a rerun, which are chosen before it begins: of the fork, and of its run."""

    thread_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The result of a run. `answer` are the texts that it wrote. `seconds` are those from its turn to its end.

    `dollars` is None if the model has no price.
    """

    run_id: str
    thread_id: str
    model: str
    status: str
    error: str | None
    answer: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    dollars: Decimal | None


class Reruns:
    """Reruns one run of a thread."""

    def __init__(self, writer: Writer, forks: Forks, prices: PriceList, *, ids: IdSource, lifetime: int) -> None:
        self._writer = writer
        self._forks = forks
        self._prices = prices
        self._ids = ids
        self._lifetime = lifetime

    def new_ids(self) -> RerunIds:
        """Returns ids for one rerun."""
        return RerunIds(self._ids.new("thread"), self._ids.new("run"))

    async def rerun(self, origin: Origin, run: Run, changes: Mapping[str, Any], new: RerunIds) -> RunReport:
        """Forks the thread from before the run, runs the fork with changes of the run's settings, and waits.

        Raises RunNotEnded, NoServer, OutputMissing, and the errors of `Forks.create`.
        """
        if run.status not in TERMINAL:
            raise RunNotEnded(run)
        await self._require_server()
        viewer = Viewer(origin.project_id, sees_deleted=False)
        await self._forks.create(origin, viewer, run.thread_id, BeforeRun(run.id), fork_id=new.thread_id, ids=self._ids)
        recorded = RecordedOutputs(await self._steps(origin.project_id, run))
        command = CreateRun(
            run_id=new.run_id,
            settings=changed_settings(run, changes),
            messages=(),
            lifetime=self._lifetime,
            claim=None,
            allows_empty_prompt=True,
        )
        await self._writer.thread(replace(origin, cause=run.id), new.thread_id, command)
        await self._notify(new.thread_id)
        while True:
            found = await self._wait(origin.project_id, new.thread_id, new.run_id)
            if found.status in TERMINAL:
                return await self.report(origin.project_id, found)
            await self._submit(origin, found, recorded)

    async def cancel(self, origin: Origin, new: RerunIds) -> str:
        """Cancels a rerun whose call of `rerun` was interrupted.

        Returns a line that names its fork and its run, or an empty text if the fork was not created.
        """
        async with self._writer.pool.acquire() as db:
            if (await event_log.head(db, new.thread_id, THREAD)).project_id is None:
                return ""
            try:
                run = await runs.get(db, origin.project_id, new.thread_id, new.run_id)
            except NotFound:
                return f"Interrupted: the fork {new.thread_id} was created, and has no rerun."
        try:
            await self._writer.thread(origin, new.thread_id, CancelRun(new.run_id, run.status))
        except Rejection:
            return f"Interrupted: the rerun {new.run_id} in the fork {new.thread_id} has ended."
        await self._notify(new.thread_id)
        return f"Interrupted: the rerun {new.run_id} in the fork {new.thread_id} was cancelled."

    async def report(self, project_id: str, run: Run) -> RunReport:
        """Returns the result of a run that has ended."""
        usage: Json = dict(run.usage or {})
        sums = {name: int(usage.get(name, 0)) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
        cost = cost_of(
            self._prices(run.model),
            datetime.fromtimestamp(run.created_at, UTC).date(),
            input_tokens=sums["prompt_tokens"],
            cached_tokens=sums["cached_tokens"],
            output_tokens=sums["completion_tokens"],
        )
        return RunReport(
            run_id=run.id,
            thread_id=run.thread_id,
            model=run.model,
            status=run.status,
            error=None if run.last_error is None else run.last_error["message"],
            answer=await self._answer(project_id, run),
            prompt_tokens=sums["prompt_tokens"],
            completion_tokens=sums["completion_tokens"],
            seconds=await self._seconds(run),
            dollars=None if cost is None else cost.input + cost.output,
        )

    async def _wait(self, project_id: str, thread_id: str, run_id: str) -> Run:
        """Returns the run once it has ended or requires action. Servers expire it after its lifetime.

        Raises NoServer.
        """
        looks = 0
        while True:
            async with self._writer.pool.acquire() as db:
                run = await runs.get(db, project_id, thread_id, run_id)
            if run.status in TERMINAL or run.status == "requires_action":
                return run
            looks += 1
            if looks % LOOKS_PER_CHECK == 0:
                await self._require_server()
            await asyncio.sleep(POLL_S)

    async def _submit(self, origin: Origin, run: Run, recorded: RecordedOutputs) -> None:
        """Submits the recorded outputs of the calls that the run waits for. If one is missing, cancels the run and
        raises OutputMissing.
        """
        outputs: list[e.ToolOutput] = []
        for call in run.required_calls or ():
            output = recorded.take(call["function"])
            if output is None:
                await self._writer.thread(origin, run.thread_id, CancelRun(run.id, run.status))
                await self._notify(run.thread_id)
                raise OutputMissing(run, call["function"])
            outputs.append(e.ToolOutput(tool_call_id=call["id"], output=output))
        await self._writer.thread(origin, run.thread_id, SubmitToolOutputs(run.id, run.status, outputs, None))
        await self._notify(run.thread_id)

    async def _require_server(self) -> None:
        async with self._writer.pool.acquire() as db:
            if not await find_servers(db):
                raise NoServer

    async def _notify(self, thread_id: str) -> None:
        async with self._writer.pool.acquire() as db:
            await notify_servers(db, [thread_id])

    async def _steps(self, project_id: str, run: Run) -> list[Step]:
        found: list[Step] = []
        after: str | None = None
        while True:
            async with self._writer.pool.acquire() as db:
                page = await steps.page(db, project_id, run.thread_id, run.id, Cursor(PAGE, "asc", after))
            found += page.items
            if not page.more:
                return found
            after = page.items[-1].id

    async def _answer(self, project_id: str, run: Run) -> str:
        texts: list[str] = []
        after: str | None = None
        while True:
            async with self._writer.pool.acquire() as db:
                page = await messages.page(db, project_id, run.thread_id, Cursor(PAGE, "asc", after), run.id)
            for message in page.items:
                texts += [part["text"]["value"] for part in message.content if part["type"] == "text"]
            if not page.more:
                return "\n".join(texts)
            after = page.items[-1].id

    async def _seconds(self, run: Run) -> float:
        """Returns the seconds from the turn of the run to its end; whole seconds if it was copied by a fork."""
        first: datetime | None = None
        after = 0
        while True:
            async with self._writer.pool.acquire() as db:
                page = await event_log.read_types(db, run.thread_id, _TIMES, after=after, until=NO_END)
            for recorded in page.recorded:
                after = recorded.version
                if getattr(recorded.event, "run_id", None) != run.id:
                    continue
                if isinstance(recorded.event, e.RunEnd):
                    return (recorded.at - (first or recorded.at)).total_seconds()
                first = recorded.at
            if not page.more:
                break
        ended = run.completed_at or run.failed_at or run.cancelled_at or run.created_at
        return float(ended - (run.started_at or run.created_at))


def changed_settings(run: Run, changes: Mapping[str, Any]) -> RunSettings:
    """Returns the settings of a run with changes, which have names of `RunSettings`.

    A tool choice that needs a tool which the changed tools lack becomes "auto".
    """
    settings = RunSettings(**{field.name: getattr(run, field.name) for field in fields(RunSettings)} | dict(changes))
    choice = settings.tool_choice
    if isinstance(choice, str):
        is_possible = choice != "required" or bool(settings.tools)
    else:
        name = choice.get("function", {}).get("name")
        is_possible = any(
            tool["type"] == choice["type"] and tool.get("function", {}).get("name") == name for tool in settings.tools
        )
    return settings if is_possible else replace(settings, tool_choice="auto")
