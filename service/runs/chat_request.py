"""Builds the request of a model call from the parts of its prompt. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from events.objects import Run
from events.thread.events import Usage
from service.model.base import ChatRequest
from service.model.request_journal import RequestJournal
from service.runs import prompt


def build_chat_request(
    run: Run,
    *,
    call: int,
    spent: Usage,
    head: prompt.Unit,
    tools: Sequence[prompt.ChatMessage],
    units: Sequence[prompt.Unit],
    journal: RequestJournal | None = None,
) -> ChatRequest:
    """Returns the request of the run's model call number `call`, before which it had spent `spent`."""
    left = None
    if run.max_completion_tokens is not None:
        left = run.max_completion_tokens - spent.completion_tokens
    return ChatRequest(
        model=run.model,
        messages=[*head, *(message for unit in units for message in unit)] or prompt.EMPTY_PROMPT,
        tools=tools,
        tool_choice=prompt.tool_choice(run, call) if tools else None,
        parallel_tool_calls=run.explicit_value("parallel_tool_calls") if tools else None,
        temperature=run.explicit_value("temperature"),
        top_p=run.explicit_value("top_p"),
        response_format=prompt.response_format(run),
        reasoning_effort=run.reasoning_effort,
        max_completion_tokens=left,
        journal=journal,
    )
