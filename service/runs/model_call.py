"""What one model call asks, and what it cost: between the run's settings, the thread's history and the model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from events.ids import IdSource
from events.objects import Run
from events.thread.commands import PartialReply
from events.thread.events import Usage
from events.thread.state import OpenModelCall, RunState
from service.database import Pool
from service.model.base import ChatRequest, Model
from service.runs import history, prompt
from service.runs.artifacts import gathered
from service.runs.images import Images
from service.runs.reply import Reply
from service.runs.tool_calls import Hosted

NOTHING = Usage()


class OutOfPrompt(Exception):
    """Not even the newest message fits into what the run may still send."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model call's request, and the reply that will be collected."""

    request: ChatRequest
    reply: Reply


class Asking:
    def __init__(
        self, pool: Pool, model: Model, project_id: str, images: Images | None, hosted: Hosted, *, ids: IdSource
    ) -> None:
        self._pool = pool
        self._model = model
        self._project_id = project_id
        self._images = images
        self._hosted = hosted
        self._ids = ids

    async def ask(self, run: Run, state: RunState, call: OpenModelCall) -> Asked:
        """What `call` asks, and an empty reply that knows the run's tools and what they have brought.

        Raises OutOfPrompt, ToolUnusable, what a tool raises, and what the database raises.
        """
        info = self._model.info(run.model)
        entries = await history.load(self._pool, run, info.context_window)
        names = prompt.hosted_names(run.tools)
        tools = {name: _first(run.tools, kind) for kind, name in names.items()}
        reply = Reply(run.id, call, ids=self._ids, hosted=tools, brought=gathered(entries, run.id))
        return Asked(await self._request(run, state, call, entries), reply)

    async def _request(
        self, run: Run, state: RunState, call: OpenModelCall, entries: list[prompt.Entry]
    ) -> ChatRequest:
        """The chat completion: within the model's window and what is left of the run's budgets."""
        info = self._model.info(run.model)
        if info.vision and self._images is not None:
            entries = await self._images.shown(self._project_id, entries)
        spent = state.usage
        allowed = prompt.budget(info.context_window, run, spent.prompt_tokens, spent.completion_tokens)
        briefs = await self._hosted.briefs(run, info.context_window)
        head, tools = prompt.system(run, briefs), prompt.chat_tools(run, self._hosted.functions(run.tools))
        units = await self._fitting(run, entries, head, tools, allowed)
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

    async def usage(self, asked: Asked) -> Usage:
        """The call's tokens: as the upstream said, else counted, off the event loop."""
        request, said, finished = asked.request, asked.reply.said, asked.reply.finished
        if finished is not None and finished.usage is not None:
            given = finished.usage
            return Usage(
                prompt_tokens=given.prompt_tokens,
                completion_tokens=given.completion_tokens,
                cached_tokens=given.cached_tokens,
                reasoning_tokens=given.reasoning_tokens,
            )
        if said.is_empty and finished is None:
            return NOTHING
        await self._model.prepare(request.model)
        return await asyncio.to_thread(self._count, request, said)

    async def _fitting(
        self, run: Run, entries: list[prompt.Entry], head: prompt.Unit, tools: list[prompt.ChatMessage], allowed: int
    ) -> list[prompt.Unit]:
        """The history that fits into `allowed` tokens; counted only where a crude bound leaves it open.

        Where the newest tool outputs do not fit, they are cut shorter. Raises OutOfPrompt.
        """
        info, text = self._model.info(run.model), _text(tools)
        tried: list[prompt.Unit] | None = None
        for room in prompt.output_rooms(info.context_window):
            units = prompt.units(entries, vision=info.vision, room=room)
            if units == tried:
                continue
            tried = units
            if prompt.surely_fits(units, head, text, allowed, lambda part: self._model.token_bound(run.model, part)):
                return units
            await self._model.prepare(run.model)
            fitting = await asyncio.to_thread(
                prompt.truncate, units, head, text, allowed, lambda part: self._model.count_tokens(run.model, part)
            )
            if fitting is not None:
                return fitting
        raise OutOfPrompt

    def _count(self, request: ChatRequest, said: PartialReply) -> Usage:
        def count(text: str) -> int:
            return self._model.count_tokens(request.model, text) if text else 0

        calls = "".join(call["name"] + call["arguments"] for call in said.tool_calls)
        asked = prompt.measure([dict(message) for message in request.messages], count)
        return Usage(
            prompt_tokens=asked + count(_text([dict(tool) for tool in request.tools])),
            completion_tokens=count(said.text) + count(said.refusal) + count(calls),
        )


def _first(tools: list[dict[str, Any]], kind: str) -> Mapping[str, Any]:
    return next(tool for tool in tools if tool["type"] == kind)


def _text(tools: list[prompt.ChatMessage]) -> str:
    """Tools as they count in a prompt."""
    return orjson.dumps(tools).decode() if tools else ""
