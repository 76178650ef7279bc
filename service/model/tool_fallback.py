"""Tools for models whose server refuses them: if it does, the call is made again with the tools in the prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from service.model.base import ChatRequest, ModelError, ModelEvent
from service.model.errors import ToolsRefused
from service.model.function_choice import StreamFunction
from service.model.tool_prompt import stream_prompted


async def stream_with_fallback(
    call: StreamFunction, request: ChatRequest, mint: Callable[[], str], learn: Callable[[], None]
) -> AsyncGenerator[Sequence[ModelEvent], None]:
    """Streams the request by `call`; if the server refuses its tools, as a prompted request (`tool_prompt`).

    `learn` is called if the server accepts the prompted request. If it refuses that too, the first error is raised.
    Raises ModelError.
    """
    try:
        async with aclosing(call(request)) as batches:
            async for batch in batches:
                yield batch
        return
    except ToolsRefused as error:
        refused = error
    has_events = False
    try:
        async with aclosing(stream_prompted(call, request, mint)) as batches:
            async for batch in batches:
                if not has_events:
                    learn()
                has_events = True
                yield batch
    except ModelError:
        if has_events:
            raise
        raise refused from None
