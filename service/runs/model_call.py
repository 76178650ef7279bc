"""Makes a model call: builds its request from the run and the thread's history, reads the reply, and counts tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from events.ids import IdSource
from events.objects import Json, Run
from events.thread.commands import PartialReply
from events.thread.events import PromptRecord, Usage
from events.thread.state import OpenModelCall, RunState
from service.deltas import Delta
from service.model.base import ChatRequest, Model
from service.model.request_journal import RequestJournal
from service.runs import prompt
from service.runs.artifacts import collect_artifacts
from service.runs.chat_request import build_chat_request
from service.runs.history import HistoryReader, PromptHistory
from service.runs.images import PromptImages
from service.runs.prompt_records import FittedHistory, PromptSource, fit_to, kept_room, record_prompt
from service.runs.reply import Reply
from service.runs.tool_calls import HostedTools
from service.tasks.off_loop import compute, is_large

NOTHING = Usage()


class PromptTooLong(Exception):
    """Not even the newest message fits into the tokens that the run may still send."""


@dataclass(slots=True)
class ModelCall:
    """An attempt at a model call of a run. `request`, its `source` and `reply` are set when the request has been built.

    `version` is the thread's version at which the call was planned; null if it is unknown.
    """

    run: Run
    state: RunState
    call: OpenModelCall
    version: int | None
    request: ChatRequest | None = None
    reply: Reply | None = None
    source: PromptSource | None = None

    @property
    def prompt_record(self) -> PromptRecord | None:
        """The record of the request that was sent last, or None if none was sent."""
        if self.request is None or self.request.journal is None or self.source is None:
            return None
        return record_prompt(self.request.journal, self.source)

    @property
    def so_far(self) -> PartialReply:
        """The reply as far as it has arrived."""
        return PartialReply() if self.reply is None else self.reply.so_far


class ModelCaller:
    """Makes the model calls of one run."""

    def __init__(
        self,
        histories: HistoryReader,
        model: Model,
        *,
        project_id: str,
        images: PromptImages | None,
        hosted: HostedTools,
        ids: IdSource,
    ) -> None:
        self._histories = histories
        self._model = model
        self._project_id = project_id
        self._images = images
        self._hosted = hosted
        self._ids = ids

    async def perform(self, model_call: ModelCall, publish: Callable[[Sequence[Delta]], None]) -> None:
        """Makes the call, and collects the reply in `model_call`. Watchers get the deltas that are passed to `publish`.

        Raises PromptTooLong, ModelError, ToolUnusable, what a tool raises, and what the database raises.
        """
        run = model_call.run
        position, window = model_call.state.position, self._model.info(run.model).context_window
        history = await self._histories.read(run, position, window, model_call.version)
        tools = {name: _tool(run.tools, type) for type, name in prompt.hosted_function_names(run.tools).items()}
        artifacts = collect_artifacts(history.entries, run.id)
        request = await self._request(model_call, history)
        reply = Reply(run.id, model_call.call, ids=self._ids, hosted=tools, artifacts=artifacts)
        model_call.request, model_call.reply = request, reply
        stream = self._model.stream(request)
        try:
            async for events in stream:
                deltas = reply.add_events(events)
                if deltas:
                    publish(deltas)
        finally:
            await stream.aclose()

    async def count_usage(self, model_call: ModelCall) -> Usage:
        """Returns the tokens of the call: those that the upstream reported, or else our count."""
        request, reply = model_call.request, model_call.reply
        if request is None or reply is None:
            return NOTHING
        end, so_far = reply.end, reply.so_far
        if end is not None and end.usage is not None:
            return Usage(
                prompt_tokens=end.usage.prompt_tokens,
                completion_tokens=end.usage.completion_tokens,
                cached_tokens=end.usage.cached_tokens,
                reasoning_tokens=end.usage.reasoning_tokens,
            )
        if so_far.is_empty and end is None:
            return NOTHING
        await self._model.prepare(request.model)
        return await asyncio.to_thread(self._count, request, so_far)

    async def _request(self, model_call: ModelCall, history: PromptHistory) -> ChatRequest:
        """Returns the request, within the model's window and the rest of the run's token budgets. Sets its `source`."""
        run, spent = model_call.run, model_call.state.usage
        info, entries, images = self._model.info(run.model), history.entries, None
        if info.vision and self._images is not None:
            images = await self._images.with_image_urls(self._project_id, entries)
            entries = images.entries
        allowed = prompt.prompt_budget(info.context_window, run, spent.prompt_tokens, spent.completion_tokens)
        briefs = await self._hosted.briefs(run, info.context_window)
        head, tools = prompt.system_message(run, briefs), prompt.chat_tools(run, self._hosted.functions(run.tools))
        fitted = await self._fit_history(run, entries, head, tools, allowed)
        model_call.source = source = PromptSource(history=history, fitted=fitted, briefs=briefs, images=images)
        return build_chat_request(
            run,
            call=model_call.call.number,
            spent=spent,
            head=head,
            tools=tools,
            units=fitted.units,
            journal=RequestJournal(room=kept_room(source, model_call.state.prompt_bytes)),
        )

    async def _fit_history(
        self, run: Run, entries: list[prompt.Entry], head: prompt.Unit, tools: list[prompt.ChatMessage], allowed: int
    ) -> FittedHistory:
        """Returns the units of the history that fit into `allowed` tokens. Raises PromptTooLong.

        Tokens are counted only if a rough bound does not decide. If the newest tool outputs do not fit, they are
        shortened.
        """
        info, tools_text, in_thread = self._model.info(run.model), _tools_text(tools), is_large(entries)
        tried: list[prompt.Unit] | None = None
        for room in prompt.output_rooms(info.context_window):
            render = partial(prompt.history_units, entries, vision=info.vision, room=room, run_id=run.id)
            units = await compute(render, in_thread=in_thread)
            if units == tried:
                continue
            tried = units
            bound = partial(self._model.token_bound, run.model)
            fits = partial(prompt.surely_fits, units, head, tools_text, allowed, bound)
            if await compute(fits, in_thread=in_thread):
                return FittedHistory(units, room)
            await self._model.prepare(run.model)
            count = partial(self._model.count_tokens, run.model)
            fitting = await asyncio.to_thread(prompt.truncate, units, head, tools_text, allowed, count)
            if fitting is not None:
                return fit_to(units, fitting, room=room, allowed=allowed)
        raise PromptTooLong

    def _count(self, request: ChatRequest, reply: PartialReply) -> Usage:
        def count(text: str) -> int:
            return self._model.count_tokens(request.model, text) if text else 0

        calls = "".join(call["name"] + call["arguments"] for call in reply.tool_calls)
        messages = prompt.count_unit_tokens([dict(message) for message in request.messages], count)
        return Usage(
            prompt_tokens=messages + count(_tools_text([dict(tool) for tool in request.tools])),
            completion_tokens=count(reply.text) + count(reply.refusal) + count(calls),
        )


def _tool(tools: list[Json], type: str) -> Mapping[str, Any]:
    return next(tool for tool in tools if tool["type"] == type)


def _tools_text(tools: list[prompt.ChatMessage]) -> str:
    """Returns the tools as the text that counts in a prompt."""
    return orjson.dumps(tools).decode() if tools else ""
