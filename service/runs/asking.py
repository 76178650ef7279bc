"""What one model call asks, and what it cost: between the run's settings, the thread's history and the model."""

from __future__ import annotations

import asyncio

import orjson

from events.objects import Run
from events.thread_commands import Partial
from events.thread_events import Usage
from events.thread_state import OpenCall, RunState
from service.database import Pool
from service.model.base import ChatRequest, Model
from service.runs import history, prompt
from service.runs.images import Images
from service.runs.reply import Reply

NOTHING = Usage()


class OutOfPrompt(Exception):
    """Not even the newest message fits into what the run may still send."""


class Asking:
    def __init__(self, pool: Pool, model: Model, project_id: str, images: Images | None) -> None:
        self._pool = pool
        self._model = model
        self._project_id = project_id
        self._images = images

    async def request(self, run: Run, state: RunState, call: OpenCall) -> ChatRequest:
        """The chat completion for `call`: within the model's window and what is left of the run's budgets.

        Raises OutOfPrompt, and what the database raises.
        """
        info = self._model.info(run.model)
        entries = await history.load(self._pool, run, info.context_window)
        if info.vision and self._images is not None:
            entries = await self._images.shown(self._project_id, entries)
        spent = state.usage
        allowed = prompt.budget(info.context_window, run, spent.prompt_tokens, spent.completion_tokens)
        head, tools = prompt.system(run), prompt.chat_tools(run)
        units = await self._fitting(run, prompt.units(entries, vision=info.vision), head, tools, allowed)
        left = None
        if run.max_completion_tokens is not None:
            left = run.max_completion_tokens - spent.completion_tokens
        return ChatRequest(
            model=run.model,
            messages=[*head, *(message for unit in units for message in unit)],
            tools=tools,
            tool_choice=prompt.tool_choice(run, call.number) if tools else None,
            parallel_tool_calls=run.parallel_tool_calls if tools else None,
            temperature=run.temperature,
            top_p=run.top_p,
            response_format=prompt.response_format(run),
            reasoning_effort=run.reasoning_effort,
            max_completion_tokens=left,
        )

    async def usage(self, request: ChatRequest, reply: Reply) -> Usage:
        """The call's tokens: as the upstream said, else counted, off the event loop."""
        said, finished = reply.said, reply.finished
        if finished is not None and finished.usage is not None:
            given = finished.usage
            return Usage(
                prompt_tokens=given.prompt_tokens,
                completion_tokens=given.completion_tokens,
                cached_tokens=given.cached_tokens,
                reasoning_tokens=given.reasoning_tokens,
            )
        if said.empty and finished is None:
            return NOTHING
        await self._model.prepare(request.model)
        return await asyncio.to_thread(self._count, request, said)

    async def _fitting(
        self, run: Run, units: list[prompt.Unit], head: prompt.Unit, tools: list[prompt.ChatMessage], allowed: int
    ) -> list[prompt.Unit]:
        """The units that fit into `allowed` tokens; counted only where a crude bound leaves it open.

        Raises OutOfPrompt.
        """
        text = _text(tools)
        if prompt.surely_fits(units, head, text, allowed, lambda part: self._model.at_most(run.model, part)):
            return units
        await self._model.prepare(run.model)
        fitting = await asyncio.to_thread(
            prompt.truncate, units, head, text, allowed, lambda part: self._model.count(run.model, part)
        )
        if fitting is None:
            raise OutOfPrompt
        return fitting

    def _count(self, request: ChatRequest, said: Partial) -> Usage:
        def count(text: str) -> int:
            return self._model.count(request.model, text) if text else 0

        calls = "".join(call["name"] + call["arguments"] for call in said.tool_calls)
        asked = prompt.measure([dict(message) for message in request.messages], count)
        return Usage(
            prompt_tokens=asked + count(_text([dict(tool) for tool in request.tools])),
            completion_tokens=count(said.text) + count(said.refusal) + count(calls),
        )


def _text(tools: list[prompt.ChatMessage]) -> str:
    """Tools as they count in a prompt."""
    return orjson.dumps(tools).decode() if tools else ""
