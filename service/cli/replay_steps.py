"""`everthread replay --step`: goes through a run with keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.cli.run_steps import RunSteps, StepFacts
from service.cli.terminal import open_terminal
from service.errors import CommandError

if TYPE_CHECKING:
    from service.replay.model_lookup import ModelLookup
    from service.replay.run_reader import RunReader


async def step_through(reader: RunReader, models: ModelLookup) -> None:
    """Shows the run until the user quits. Raises CommandError if there is no terminal, or no such run."""
    steps = RunSteps(reader.timeline.run_id, await _read_facts(reader, models))
    async with open_terminal() as terminal:
        while True:
            width, height = terminal.size
            terminal.draw(steps.screen(width, height))
            if steps.press(await terminal.next_key(), height):
                return


async def _read_facts(reader: RunReader, models: ModelLookup) -> list[StepFacts]:
    from service.replay.run_view import RunView
    from service.replay.view_changes import read_changes

    view, entries = RunView(models), [entry async for entry in reader.entries()]
    if not entries:
        raise CommandError(f"The thread has no run '{reader.timeline.run_id}'.")
    changes = await read_changes(
        reader.pool,
        reader.thread_id,
        reader.timeline.run_id,
        hidden=reader.timeline.hidden,
        until=entries[-1].recorded.version,
    )
    facts = []
    for entry in entries:
        prompt = await asyncio.to_thread(view.prompt, entry)
        facts.append(StepFacts(entry, prompt, view.add_cost(entry), changes.get(entry.recorded.version, ())))
    return facts
