"""The entries of a run's timeline as JSON, with the prompts, the answers and the costs of its model calls."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from functools import partial
from typing import Any

import orjson

from events import codec
from events.actors import actor_text
from events.thread import events as e
from service.prices import Cost, cost_of
from service.replay.call_prompts import CallEnd, CallPrompt
from service.replay.model_lookup import ModelLookup
from service.replay.prompt_view import PromptView, view_prompt
from service.replay.run_timeline import TimelineEntry


class RunView:
    """Renders the entries of one run in order.

    Without `models`, tokens are not counted and no price is known. `cost` is the sum of the calls so far in US dollars,
    null if no price is known.
    """

    def __init__(self, models: ModelLookup | None = None) -> None:
        self.cost: Decimal | None = None
        self._models = models

    def prompt(self, entry: TimelineEntry, urls: Mapping[str, str] | None = None) -> PromptView | None:
        """Returns the request of the attempt that the entry ends, or None. It blocks if tokens are counted."""
        if entry.call is None:
            return None
        return self.prompt_of(entry.call, entry.hidden, urls)

    def prompt_of(self, call: CallPrompt, hidden: frozenset[str], urls: Mapping[str, str] | None = None) -> PromptView:
        """Returns the request of an attempt. It blocks if tokens are counted."""
        models, name = self._models, call.run.model
        return view_prompt(
            call,
            hidden=hidden,
            count=None if models is None else partial(models.count_tokens, name),
            urls=urls,
            assumed=None if models is None else models.assume(name),
        )

    def add_cost(self, entry: TimelineEntry) -> Cost | None:
        """Returns the cost of the model call that the entry ends, and adds it to the sum. Call it once for an entry."""
        event = entry.recorded.event
        if entry.call is None or self._models is None or not isinstance(event, CallEnd):
            return None
        cost = cost_of(
            self._models.prices(entry.call.run.model),
            entry.recorded.at.astimezone(UTC).date(),
            input_tokens=event.usage.prompt_tokens,
            cached_tokens=event.usage.cached_tokens,
            output_tokens=event.usage.completion_tokens,
        )
        if cost is not None:
            self.cost = (self.cost or Decimal(0)) + cost.input + cost.output
        return cost

    def to_json(self, entry: TimelineEntry, *, has_prompt: bool = True) -> dict[str, Any]:
        """Returns the entry as JSON: the envelope and the content of its event, and what was derived from it.

        It blocks if tokens are counted. Costs are in US dollars. Without `has_prompt`, the prompt of a model call is
        null.
        """
        recorded, cost = entry.recorded, self.add_cost(entry)
        derived: dict[str, Any] = {}
        if entry.call is not None:
            prompt = self.prompt(entry) if has_prompt else None
            derived["prompt"] = None if prompt is None else prompt.to_json()
            derived["answer"] = answer_of(entry)
            derived["cost"] = None if cost is None else {"input": str(cost.input), "output": str(cost.output)}
        if isinstance(recorded.event, e.RunEnd):
            derived["cost"] = None if self.cost is None else {"total": str(self.cost)}
        return {
            "version": recorded.version,
            "at": recorded.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "gap_s": entry.gap_s,
            "type": recorded.event.type,
            "actor": actor_text(recorded.actor),
            "request_id": recorded.request_id,
            "summary": entry.summary,
            "action": entry.action_text,
            "is_failure": entry.is_failure,
            "content": orjson.loads(codec.dump(recorded.event)),
            **derived,
        }


def answer_of(entry: TimelineEntry) -> dict[str, Any]:
    """Returns the model's answer: the content of its message, and its tool calls as the model wrote them."""
    content: list[Any] = []
    calls: list[Any] = []
    for event in entry.answer:
        if isinstance(event, e.MessageWritten):
            content += event.content
        elif isinstance(event, e.StepCreated):
            calls += event.tool_calls
    return {"content": content, "tool_calls": calls}
